from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.images.image_file import read_image_file
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume

AFFINE = np.diag([0.7, 0.8, 2.0, 1.0])
VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def nifti(path: Path, values: np.ndarray = VALUES, kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(values, AFFINE), path)
    return path


def changed(path: Path, start: int, content: bytes) -> Path:
    written = bytearray(path.read_bytes())
    written[start : start + len(content)] = content
    path.write_bytes(bytes(written))
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_versions_and_byte_orders_with_a_slope_keep_their_values(kind: type, order: str, tmp_path: Path) -> None:
    image = kind(VALUES.astype(f"{order}i2"), AFFINE, kind.header_class(endianness=order))
    image.header.set_slope_inter(0.25, -3)
    nib.save(image, tmp_path / "v.nii.gz")
    read = read_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(read.numpy()[0], nib.load(tmp_path / "v.nii.gz").get_fdata(dtype=np.float32))
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-6)


def test_compression_is_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "plain.nii").read_bytes()
    (tmp_path / "really_plain.nii.gz").write_bytes(plain)
    (tmp_path / "really_gzip.nii").write_bytes(gzip.compress(plain))
    for name in ("really_plain.nii.gz", "really_gzip.nii"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).numpy()[0], VALUES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(400), "it is a PNG picture", id="png"),
        pytest.param(b"<!DOCTYPE html><p>404", "it is a web page", id="web-page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="git-lfs"),
        pytest.param(gzip.compress(gzip.compress(bytes(400))), "compressed twice", id="twice"),
        pytest.param(gzip.compress(b"x" * 4000)[:20], "compression is damaged", id="cut-gzip"),
        pytest.param(bytes(400), "neither NIfTI nor NRRD nor MetaImage", id="zeros"),
    ],
)
def test_what_is_no_image_whatever_its_name_is_refused_in_one_sentence(
    content: bytes, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("v.nii", "v.nii.gz", "v.nrrd", "v.mha"):
        (tmp_path / name).write_bytes(content)
        with (
            caplog.at_level(logging.DEBUG),
            pytest.raises(ImageReadError, match=f"{name} cannot be read.*{said}") as error,
        ):
            read_volume(tmp_path / name, "MR")
        assert "\n" not in str(error.value)
    assert caplog.records == []


def test_a_dicom_file_named_as_nifti_is_never_read_as_one(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "dicom")
    (tmp_path / "v.nii").write_bytes((tmp_path / "dicom" / "CT0").read_bytes())
    with pytest.raises(ImageReadError, match=r"v.nii .*DICOM"):
        read_image_file(tmp_path / "v.nii", "CT")


@pytest.mark.parametrize(
    ("start", "content", "said"),
    [
        pytest.param(344, b"xx\0\0", r"its NIfTI signature is b'xx", id="damaged"),
        pytest.param(344, b"\0\0\0\0", "it is an Analyze image, which says no orientation", id="analyze"),
        pytest.param(344, b"ni1\0", "the header of a NIfTI pair", id="pair"),
        pytest.param(40, b"\x09\x00", "claims 9 dimensions", id="dimensions"),
        pytest.param(42, b"\xff\xff", "-1 x 5 x 6 voxels, which is no size", id="negative-size"),
        pytest.param(70, b"\x7b\x00", "123", id="unknown-type"),
        pytest.param(108, np.float32(20).tobytes(), "begin at byte 20, within its header", id="offset"),
    ],
)
def test_a_damaged_nifti_header_is_refused_and_no_other_reader_tries(
    start: int, content: bytes, said: str, tmp_path: Path
) -> None:
    path = changed(nifti(tmp_path / "v.nii"), start, content)
    with pytest.raises(ImageReadError, match=rf"v.nii cannot be read as an image \(.*{said}"):
        read_volume(path, "MR")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(VALUES.astype(np.complex64), "complex numbers", id="complex"),
        pytest.param(np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours", id="rgb"),
        pytest.param(np.zeros((4, 5, 6, 3), np.int16), r"got \(3, 4, 5, 6\) .*3 time points", id="time"),
        pytest.param(np.zeros((4, 5, 6, 1, 3), np.int16), "3 components", id="vectors"),
        pytest.param(np.zeros((4, 5), np.int16), "2 dimensions", id="flat"),
    ],
)
def test_what_is_not_one_grey_volume_is_refused(values: np.ndarray, said: str, tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=f"v.nii.gz .*{said}"):
        read_volume(nifti(tmp_path / "v.nii.gz", values), "MR")


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_one_volume_with_more_axes_of_one_is_that_volume(extra: tuple[int, ...], tmp_path: Path) -> None:
    image = read_volume(nifti(tmp_path / "v.nii.gz", VALUES.reshape(*VALUES.shape, *extra)), "MR")
    np.testing.assert_array_equal(image.numpy()[0], VALUES)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_a_header_that_claims_more_than_the_file_has_is_refused_before_memory_is_asked_for(
    name: str, tmp_path: Path
) -> None:
    header = changed(nifti(tmp_path / "small.nii"), 42, np.array([1500, 1500, 500], "<i2").tobytes()).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(header) if name.endswith("gz") else header)
    with pytest.raises(
        ImageReadError, match=r"its header claims 1500 x 1500 x 500 voxels in 2250000000 bytes, but it has"
    ):
        read_volume(tmp_path / name, "CT")
    huge = changed(tmp_path / "small.nii", 42, np.array([32767, 32767, 32767], "<i2").tobytes())
    with pytest.raises(ImageReadError, match="more than the 2147483648 that are read"):
        read_volume(huge, "CT")


def test_a_file_that_goes_on_after_its_voxels_is_said_and_refused_where_the_header_contradicts_itself(
    tmp_path: Path,
) -> None:
    values = np.random.default_rng(0).integers(0, 99, (40, 40, 40)).astype(np.int16)
    half = changed(nifti(tmp_path / "v.nii", values), 46, b"\x14\x00")
    (said,) = read_volume(half).meta["warnings"]
    assert "v.nii: 64000 bytes follow the 40 x 40 x 20 voxels that the header claims; it may be wrong" in said
    narrow = changed(nifti(tmp_path / "v.nii", values), 70, b"\x02\x00")
    with pytest.raises(ImageReadError, match=r"8 bits a voxel by its datatype, but 16 by bitpix, and 64000 bytes"):
        read_volume(narrow, "MR")
    wrong_bitpix = changed(nifti(tmp_path / "v.nii", values), 72, b"\x20\x00")
    np.testing.assert_array_equal(read_volume(wrong_bitpix, "MR").numpy()[0], values)


def test_files_that_were_cut_off_or_changed_in_their_compression_are_refused(tmp_path: Path) -> None:
    whole = nifti(tmp_path / "v.nii.gz", np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16))
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageReadError, match=r"v.nii.gz cannot be read as an image"):
        read_volume(whole, "MR")
    whole.write_bytes(content[:-8] + b"\0\0\0\0" + content[-4:])  # the checksum alone
    with pytest.raises(ImageReadError, match="CRC"):
        read_volume(whole, "MR")
    plain = nifti(tmp_path / "v.nii")
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(ImageReadError, match="it was cut off or its header is wrong"):
        read_volume(plain, "MR")
