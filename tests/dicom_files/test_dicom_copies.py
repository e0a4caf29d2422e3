"""Images that were sent twice count once, whatever their UIDs; images of one place that differ are never mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, generate_uid

from spinefuse_ext.dicom import read_series
from spinefuse_ext.validation import ImageReadError
from tests.dicom_files.enhanced import as_enhanced


def _resend(path: Path, copy: Path, **tags: object) -> None:
    """Store an image again under a UID and a number of its own."""
    image = pydicom.dcmread(path)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.InstanceNumber = 99
    for name, value in tags.items():
        setattr(image, name, value)
    image.save_as(copy)


@pytest.mark.parametrize("names", [["CT0"], ["CT0", "CT1", "CT2", "CT3"]], ids=["one", "all"])
def test_an_image_sent_again_under_another_uid_is_left_out_and_said(
    names: list[str], tmp_path: Path, write_series
) -> None:
    stored = write_series(tmp_path)
    for name in names:
        _resend(tmp_path / name, tmp_path / f"again_{name}")
    image = read_series(tmp_path)
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    assert len(image.meta["source_files"]) == 4
    assert f"{len(names)} cop" in image.meta["warnings"][0]
    assert "with equal pixels at an equal place (again_CT0" in image.meta["warnings"][0]


def test_a_copy_in_another_compression_is_a_copy(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path, stored=np.random.default_rng(1).integers(0, 2000, (4, 32, 32)))
    image = pydicom.dcmread(tmp_path / "CT1")
    image.compress(RLELossless)
    image.save_as(tmp_path / "again")
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)


@pytest.mark.parametrize("same_uid", [True, False])
def test_images_of_one_place_that_differ_are_refused_by_name(same_uid: bool, tmp_path: Path, write_series) -> None:
    write_series(tmp_path)
    shutil.copy(tmp_path / "CT1", tmp_path / "again")
    image = pydicom.dcmread(tmp_path / "again")
    if not same_uid:
        image.SOPInstanceUID = generate_uid()
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(tmp_path / "again")
    with pytest.raises(ImageReadError, match=r"several images at one position that differ .(CT1|again) and "):
        read_series(tmp_path)


def test_two_whole_volumes_of_one_place_are_listed_by_their_files(tmp_path: Path, write_series) -> None:
    write_series(tmp_path)
    for number in range(4):
        image = pydicom.dcmread(tmp_path / f"CT{number}")
        image.InstanceNumber = int(image.ImagePositionPatient[2])
        image.save_as(tmp_path / f"CT{number}")
        image.InstanceNumber, image.PixelData = image.InstanceNumber + 10, bytes(len(image.PixelData))
        image.save_as(tmp_path / f"again{number}")
    with pytest.raises(ImageReadError, match=r"image 1 of each place: CT. to CT.*2 of each place: again. to again"):
        read_series(tmp_path)


def test_equal_pixels_of_another_rescaling_are_no_copy(tmp_path: Path, write_series) -> None:
    write_series(tmp_path)
    _resend(tmp_path / "CT1", tmp_path / "again", RescaleSlope=1)
    with pytest.raises(ImageReadError, match="several images at one position that differ"):
        read_series(tmp_path)


def test_a_multi_frame_file_sent_twice_counts_once(tmp_path: Path, write_series) -> None:
    stored = np.random.default_rng(1).integers(0, 2000, (5, 5, 4))
    write_series(tmp_path / "single", (0.0, 3.0, 6.0, 9.0, 12.0), stored=stored)
    folder = as_enhanced(tmp_path / "single", tmp_path / "many")
    once = read_series(folder)
    _resend(folder / "all.dcm", folder / "again.dcm")
    twice = read_series(folder)
    np.testing.assert_array_equal(once, twice)
    assert "5 copies" in twice.meta["warnings"][0]


@pytest.mark.parametrize("number", [4, 2], ids=["whole", "in part"])
def test_a_series_sent_again_under_uids_of_its_own_is_left_out_and_said(
    number: int, tmp_path: Path, write_series
) -> None:
    stored = write_series(tmp_path)
    uid = generate_uid()
    for name in ("CT0", "CT1", "CT2", "CT3")[:number]:
        _resend(tmp_path / name, tmp_path / f"again_{name}", SeriesInstanceUID=uid)
    image = read_series(tmp_path, "CT")
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    (said,) = image.meta["warnings"]
    assert "is left out, because every image of it is in CT 'small CT'" in said


def test_two_series_that_differ_in_one_pixel_are_both_listed(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path)
    for name in ("CT0", "CT1", "CT2", "CT3"):
        _resend(tmp_path / name, tmp_path / f"again_{name}", SeriesInstanceUID="1.2.9", SeriesNumber=9)
    image = pydicom.dcmread(tmp_path / "again_CT1")
    image.PixelData = b"\1\0" + image.PixelData[2:]
    image.save_as(tmp_path / "again_CT1")
    with pytest.raises(ImageReadError, match="exactly one CT series, but 2 fit"):
        read_series(tmp_path, "CT")
    image = read_series(tmp_path, "CT", series="9")
    assert image.meta["warnings"] == []
    assert (image.numpy()[0] != 2 * stored.T - 1024).sum() == 1
