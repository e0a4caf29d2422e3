from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from spinefuse_ext.images.stored_image import as_in_itk
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume

VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4, order="F")
RAW = VALUES.tobytes(order="F")
SPACE = "space: LPS\nspace directions: (0.5,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)"
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0]) @ [[0.5, 0, 0, 1], [0, 1, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]
SIZES = "type: short\ndimension: 3\nsizes: 2 3 4\nendian: little"
META = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\n"
DEFLATED = zlib.compress(RAW)
DEFLATED_SIZE = "CompressedData = True\nCompressedDataSize = {}\n"
PLACED = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 0.5 1 2\n"


def nrrd(
    path: Path, data: bytes = RAW, sizes: str = SIZES, space: str = SPACE, encoding: str = "raw", more: str = ""
) -> Path:
    lines = ["NRRD0004", sizes, f"encoding: {encoding}", *filter(None, (space, more))]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return path


def meta(
    path: Path, data: bytes = RAW, place: str = PLACED, more: str = "", file: str = "LOCAL", head: str = META
) -> Path:
    path.write_bytes(f"{head}{place}{more}ElementDataFile = {file}\n".encode() + data)
    return path


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("raw", RAW),
        ("gzip", gzip.compress(RAW)),
        ("ascii", " ".join(map(str, range(24))).encode()),
        ("hex", RAW.hex().encode()),
    ],
    ids=("raw", "gzip", "ascii", "hex"),
)
def test_every_encoding_of_nrrd_keeps_values_and_place(encoding: str, data: bytes, tmp_path: Path) -> None:
    image = read_volume(nrrd(tmp_path / "v.nrrd", data, encoding=encoding), "MR")
    np.testing.assert_array_equal(image.numpy()[0], VALUES)
    np.testing.assert_allclose(image.affine, AFFINE)
    assert image.meta["warnings"] == []


@pytest.mark.parametrize(("space", "signs"), [("right-anterior-superior", (1, 1)), ("LAS", (-1, 1)), ("LPS", (-1, -1))])
def test_the_spaces_of_the_patient_are_followed(space: str, signs: tuple[int, int], tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd", space=SPACE.replace("LPS", space))
    image = read_volume(path)
    np.testing.assert_allclose(np.diag(image.affine)[:2], np.multiply(signs, (0.5, 1)))
    assert image.meta["placed"]
    assert image.meta["warnings"] == []


@pytest.mark.parametrize(
    ("space", "said"),
    [
        pytest.param("", "no space, so neither place nor orientation", id="nothing"),
        pytest.param("spacings: 0.5 1 2", "no space, so neither", id="spacings"),
        pytest.param(SPACE.replace("LPS", "scanner-xyz"), "the space scanner-xyz, which is none", id="scanner"),
        pytest.param(SPACE.partition("\nspace origin")[0], "no space origin, so no place", id="no-origin"),
    ],
)
def test_a_nrrd_without_its_place_is_read_and_said(space: str, said: str, tmp_path: Path) -> None:
    image = read_volume(nrrd(tmp_path / "v.nrrd", space=space), "MR")
    assert said in image.meta["warnings"][0]
    assert image.meta["placed"] is False


@pytest.mark.parametrize(
    ("place", "said"),
    [
        pytest.param("ElementSpacing = 0.5 1 2\nOffset = 1 2 3\n", "no orientation", id="no-matrix"),
        pytest.param("ElementSpacing = 0.5 1 2\nRotation = 1 0 0 0 1 0 0 0 1\n", "no position", id="no-offset"),
        pytest.param(PLACED.partition("ElementSpacing")[0], "no voxel size", id="no-spacing"),
    ],
)
def test_a_metaimage_without_its_place_is_read_and_said(place: str, said: str, tmp_path: Path) -> None:
    image = read_volume(meta(tmp_path / "v.mha", place=place), "MR")
    assert said in image.meta["warnings"][0]
    assert image.meta["placed"] is False


def test_lengths_in_microns_become_millimetres_and_itk_is_known_not_to_do_so(tmp_path: Path) -> None:
    microns = 'space: LPS\nspace units: "um" "um" "um"\nspace directions: (500,0,0) (0,1000,0) (0,0,2000)'
    paths = (
        nrrd(tmp_path / "v.nrrd", space=f"{microns}\nspace origin: (1000,2000,3000)"),
        meta(tmp_path / "v.mha", place=PLACED.replace("1 2 3", "1000 2000 3000").replace("0.5 1 2", "500 1000 2000"),
             more="DistanceUnits = um\n"),
    )  # fmt: skip
    for path in paths:
        image = read_volume(path)
        np.testing.assert_allclose(image.affine, AFFINE)
        assert "lengths in um, which were converted to mm" in image.meta["warnings"][0]
        as_in_itk(image)
        np.testing.assert_allclose(np.abs(np.diag(image.affine)[:3]), (500, 1000, 2000))


def test_axes_that_are_not_perpendicular_are_said_and_flat_ones_refused(tmp_path: Path) -> None:
    sheared = nrrd(tmp_path / "v.nrrd", space=SPACE.replace("(0.5,0,0)", "(0.5,0.5,0)"))
    assert "45.0 degrees apart, not 90" in read_volume(sheared).meta["warnings"][0]
    with pytest.raises(ImageReadError, match="cannot be read as an image"):
        read_volume(nrrd(tmp_path / "v.nrrd", space=SPACE.replace("(0.5,0,0)", "(0,1,0)")))


@pytest.mark.parametrize("name", ["v.nhdr", "v.mhd"])
def test_a_detached_header_needs_its_data_file(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if name == "v.nhdr":
        nrrd(tmp_path / name, b"", more="data file: pixels of v.raw")
    else:
        meta(tmp_path / name, b"", file="pixels of v.raw")
    with pytest.raises(ImageReadError, match=f"{name} cannot be read .*its data file pixels of v.raw is missing"):
        read_volume(tmp_path / name, "MR")
    (tmp_path / "pixels of v.raw").write_bytes(RAW[:-2])
    with pytest.raises(ImageReadError, match=r"2 x 3 x 4 voxels in 48 bytes, but it has 46: it was cut off"):
        read_volume(tmp_path / name, "MR")
    assert capfd.readouterr() == ("", "")  # nothing of the libraries
    (tmp_path / "pixels of v.raw").write_bytes(RAW)
    np.testing.assert_array_equal(read_volume(tmp_path / name, "MR").numpy()[0], VALUES)


@pytest.mark.parametrize("listed", [True, False])
def test_data_in_a_file_a_slice_is_read_and_the_one_that_is_missing_named(listed: bool, tmp_path: Path) -> None:
    names = [f"s{number}.raw" for number in range(1, 5)]
    for place, name in enumerate(names):
        (tmp_path / name).write_bytes(VALUES[..., place].tobytes(order="F"))
    more = "data file: LIST 2\n" + "\n".join(names) if listed else "data file: s%d.raw 1 4 1 2"
    detached = nrrd(tmp_path / "v.nhdr", b"", more=more)
    detached.write_bytes(detached.read_bytes().rstrip() + b"\n")  # a LIST goes on to the end
    meta(
        tmp_path / "v.mhd",
        b"" if not listed else ("\n".join(names) + "\n").encode(),
        file="LIST" if listed else "s%d.raw 1 4 1",
    )
    for name in ("v.nhdr", "v.mhd"):
        np.testing.assert_array_equal(read_volume(tmp_path / name, "MR").numpy()[0], VALUES)
    if listed:  # ITK passes over a last line without an end, and fills its slice with what is in memory
        (tmp_path / "w.mhd").write_bytes((tmp_path / "v.mhd").read_bytes().rstrip())
        with pytest.raises(ImageReadError, match="list of data files does not end with a line break"):
            read_volume(tmp_path / "w.mhd", "MR")
    (tmp_path / "s3.raw").unlink()
    for name in ("v.nhdr", "v.mhd"):
        with pytest.raises(ImageReadError, match=f"{name} cannot be read .*s3.raw is missing"):
            read_volume(tmp_path / name, "MR")


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        pytest.param({"encoding": "bzip2", "data": bz2.compress(RAW)}, "compressed by bzip2", id="bzip2"),
        pytest.param({"encoding": "zrl"}, "its encoding is zrl", id="encoding"),
        pytest.param({"data": RAW[:-2]}, "cut off", id="short"),
        pytest.param({"space": SPACE.replace("(1,2,3)", "(nan,nan,nan)")}, "space origin hold NaN", id="nan-origin"),
        pytest.param({"space": SPACE.replace("(0.5", "(nan")}, "space directions hold NaN", id="nan-direction"),
        pytest.param({"encoding": "gzip", "data": gzip.compress(RAW)[:-12]}, "cut off|damaged", id="short-gzip"),
        pytest.param({"sizes": SIZES.replace("short", "block")}, "of the type block", id="type"),
        pytest.param({"sizes": SIZES.replace("2 3 4", "2 x 4")}, "no sizes", id="sizes"),
        pytest.param({"sizes": SIZES.replace("2 3 4", "1500 1500 500")}, "claims 1500 x 1500 x 500", id="claim"),
        pytest.param({"sizes": SIZES.replace("2 3 4", "-2 3 4")}, "which is no size", id="negative"),
    ],
)
def test_a_nrrd_that_cannot_be_read_is_refused_in_one_sentence(
    kwargs: dict[str, object], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageReadError, match=rf"v.nrrd cannot be read as an image \(.*({said})"):
        read_volume(nrrd(tmp_path / "v.nrrd", **kwargs), "MR")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        pytest.param({"data": RAW[:-2]}, "cut off", id="short"),
        pytest.param(
            {"data": zlib.compress(RAW)[:-9], "more": "CompressedData = True\n"}, "cut off|damaged", id="zlib"
        ),
        pytest.param({"data": DEFLATED, "more": "CompressedData = True\n"}, "is missing", id="zlib-size-missing"),
        pytest.param({"data": DEFLATED, "more": DEFLATED_SIZE.format(9)}, "but it says 9", id="zlib-size-small"),
        pytest.param({"data": DEFLATED, "more": DEFLATED_SIZE.format(999)}, "but it says 999", id="zlib-size-large"),
        pytest.param({"place": PLACED.replace("0.5 1 2", "-0.5 1 2")}, "which is no voxel size", id="negative"),
        pytest.param({"more": "BinaryData = False\n"}, "written as text", id="text"),
        pytest.param({"head": META.replace("2 3 4", "1500 1500 500")}, "claims 1500 x 1500 x 500", id="claim"),
        pytest.param({"head": META.replace("MET_SHORT", "MET_STRING")}, "of the type MET_STRING", id="type"),
        pytest.param({"more": "ElementNumberOfChannels = 3\n"}, "3 values a voxel", id="colours"),
        pytest.param({"head": META.replace("2 3 4", "2 3 2 2").replace("= 3", "= 4")}, r"got \(2, 3, 2, 2\)", id="4-d"),
    ],
)
def test_a_metaimage_that_cannot_be_read_is_refused_in_one_sentence(
    kwargs: dict[str, object], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageReadError, match=rf"v.mha .*({said})"):
        read_volume(meta(tmp_path / "v.mha", **kwargs), "MR")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("after", [b"", b"\n"], ids=["alone", "line break behind"])
def test_a_compressed_metaimage_that_says_its_size_is_read(after: bytes, tmp_path: Path) -> None:
    path = meta(tmp_path / "v.mha", DEFLATED + after, more=DEFLATED_SIZE.format(len(DEFLATED)))
    np.testing.assert_array_equal(read_volume(path, "MR").numpy()[0], VALUES)


@pytest.mark.parametrize("size", ["", "CompressedDataSize = 9\n"], ids=["missing", "wrong"])
def test_a_detached_compressed_metaimage_needs_no_size_but_no_wrong_one(size: str, tmp_path: Path) -> None:
    (tmp_path / "v.zraw").write_bytes(DEFLATED)
    path = meta(tmp_path / "v.mhd", b"", more=f"CompressedData = True\n{size}", file="v.zraw")
    if size:
        with pytest.raises(ImageReadError, match=f"should be {len(DEFLATED)}, but it says 9"):
            read_volume(path, "MR")
    else:
        np.testing.assert_array_equal(read_volume(path, "MR").numpy()[0], VALUES)


def four_axes(sizes: str, kinds: str, directions: str) -> dict[str, str]:
    return {
        "sizes": f"type: short\ndimension: 4\nsizes: {sizes}\nkinds: {kinds}\nendian: little",
        "space": f"space: LPS\nspace directions: {directions}\nspace origin: (1,2,3)",
    }


FIRST = "none (0.5,0,0) (0,1,0) (0,0,2)"


@pytest.mark.parametrize(
    ("sizes", "kinds", "directions"),
    [
        ("1 2 3 4", "list domain domain domain", FIRST),
        ("2 3 4 1", "domain domain domain list", "(0.5,0,0) (0,1,0) (0,0,2) none"),
    ],
)
def test_a_list_of_one_volume_is_that_volume(sizes: str, kinds: str, directions: str, tmp_path: Path) -> None:
    image = read_volume(nrrd(tmp_path / "v.nrrd", **four_axes(sizes, kinds, directions)), "MR")
    np.testing.assert_array_equal(image.numpy()[0], VALUES)
    np.testing.assert_allclose(image.affine, AFFINE)


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha"])
def test_data_that_goes_on_after_the_voxels_is_said(name: str, tmp_path: Path) -> None:
    path = (nrrd if name == "v.nrrd" else meta)(tmp_path / name, RAW + bytes(5000))
    (said,) = read_volume(path, "MR").meta["warnings"]
    assert f"{name}: 5000 bytes follow the 2 x 3 x 4 voxels that the header claims" in said


def test_a_metaimage_with_a_fourth_axis_of_one_is_that_volume(tmp_path: Path) -> None:
    head = META.replace("2 3 4", "2 3 4 1").replace("NDims = 3", "NDims = 4")
    place = "TransformMatrix = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\nOffset = 1 2 3 0\nElementSpacing = 0.5 1 2 1\n"
    image = read_volume(meta(tmp_path / "v.mha", head=head, place=place), "MR")
    np.testing.assert_array_equal(image.numpy()[0], VALUES)
    np.testing.assert_allclose(image.affine, AFFINE)


@pytest.mark.parametrize("kind", ["list", "vector", "RGB-color", "complex"])
def test_a_nrrd_of_several_values_a_voxel_is_refused(kind: str, tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd", **four_axes("2 2 3 2", f"{kind} domain domain domain", FIRST))
    with pytest.raises(ImageReadError, match=r"one 3-D volume, got \(2, 2, 3, 2\), 2 values a voxel; split it"):
        read_volume(path, "MR")


def test_a_segmentation_is_no_image_and_its_overlapping_layers_no_volume(tmp_path: Path) -> None:
    segment = "Segment0_ID:=Segment_1\nSegment0_Name:=disc"
    one = nrrd(tmp_path / "one.seg.nrrd", more=segment)
    with pytest.raises(ImageReadError, match=r"one.seg.nrrd is a segmentation .*, not a CT; name the image"):
        read_volume(one, "CT")
    np.testing.assert_array_equal(read_volume(one).numpy()[0], VALUES)
    layers = four_axes("2 2 3 2", "list domain domain domain", FIRST)
    with pytest.raises(ImageReadError, match="segmentation of 2 layers with overlapping segments"):
        read_volume(nrrd(tmp_path / "two.seg.nrrd", more=segment, **layers))
