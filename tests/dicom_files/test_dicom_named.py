"""What the user names is what is read: a file of any name, a table of contents, a series of another modality."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet
from pydicom.uid import SecondaryCaptureImageStorage, XRay3DAngiographicImageStorage, generate_uid

from spinefuse_ext.dicom import read_series, write_seg
from spinefuse_ext.dicom.source import find_source
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume
from tests.dicom_files.enhanced import as_enhanced


def _values(stored: np.ndarray) -> np.ndarray:
    return 2 * stored.T - 1024


@pytest.fixture
def two_series(tmp_path: Path, write_series) -> tuple[Path, list[np.ndarray]]:
    """One folder with two MR series, files ``a_MR0`` to ``a_MR3`` and ``b_MR0`` to ``b_MR3``."""
    folder = tmp_path / "mr"
    folder.mkdir()
    volumes = []
    for place, name in enumerate("ab"):
        stored = np.random.default_rng(place).integers(0, 2000, (4, 5, 4))
        write_series(tmp_path / name, stored=stored, modality="MR", SeriesNumber=place + 1, SeriesDescription=name)
        for path in (tmp_path / name).iterdir():
            shutil.move(path, folder / f"{name}_{path.name}")
        volumes.append(stored)
    return folder, volumes


@pytest.mark.parametrize("ending", ["", ".dcm", ".IMA", ".12345", ".img", ".nii"])
def test_a_file_that_is_named_is_its_own_series_whatever_its_ending(
    ending: str, two_series: tuple[Path, list[np.ndarray]]
) -> None:
    folder, volumes = two_series
    for name, stored in zip("ab", volumes, strict=True):
        path = (folder / f"{name}_MR1").rename(folder / f"{name} 001{ending}")
        image = read_volume(path, "MR")
        np.testing.assert_array_equal(image.numpy()[0], _values(stored))
        assert image.meta["filename_or_obj"] == str(path)
        assert find_source(path, "MR").series.description == name
    with pytest.raises(ImageReadError, match="exactly one MR series, but 2 fit"):
        read_volume(folder, "MR")


def test_a_file_and_a_series_that_contradict_each_other_are_refused(two_series: tuple[Path, list[np.ndarray]]) -> None:
    folder, volumes = two_series
    np.testing.assert_array_equal(read_volume(folder / "a_MR1", "MR", "1").numpy()[0], _values(volumes[0]))
    with pytest.raises(ImageReadError, match=r"a_MR1 should hold exactly one MR series 2, but 0 fit; it holds MR 'a'"):
        read_volume(folder / "a_MR1", "MR", "2")


def test_a_multi_frame_file_that_is_named_is_not_the_one_beside_it(tmp_path: Path, write_series) -> None:
    heights = (0.0, 3.0, 6.0, 9.0, 12.0)
    write_series(tmp_path / "one", heights, stored=np.full((5, 5, 4), 100))
    write_series(tmp_path / "two", heights, stored=np.full((5, 5, 4), 900))
    folder = as_enhanced(tmp_path / "one", tmp_path / "many")
    (as_enhanced(tmp_path / "two", tmp_path / "other") / "all.dcm").rename(folder / "IM_0002.dcm")
    assert (read_volume(folder / "all.dcm", "CT") == 2 * 100 - 1024).all()
    assert (read_volume(folder / "IM_0002.dcm", "CT") == 2 * 900 - 1024).all()


def test_the_table_of_contents_of_a_medium_stands_for_its_folder(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path / "scan", SeriesNumber=3, StudyInstanceUID=generate_uid())
    medium = FileSet()
    for path in (tmp_path / "scan").iterdir():
        image = pydicom.dcmread(path)
        image.StudyDate, image.StudyTime, image.StudyID, image.InstanceNumber = "20260101", "120000", "1", path.name[2:]
        medium.add(image)
    medium.write(tmp_path / "cd")
    for path in (tmp_path / "cd" / "DICOMDIR", tmp_path / "cd"):
        np.testing.assert_array_equal(read_volume(path, "CT").numpy()[0], _values(stored))


@pytest.mark.parametrize("modality", ["XA", "OT", "PT", ""])
@pytest.mark.parametrize("named", ["series", "file"])
def test_a_series_of_another_modality_is_read_when_it_is_named_and_that_is_said(
    named: str, modality: str, tmp_path: Path, write_series
) -> None:
    kind = {"XA": XRay3DAngiographicImageStorage}.get(modality, SecondaryCaptureImageStorage)
    write_series(tmp_path / "mr", modality="MR", SeriesNumber=4)
    stored = write_series(tmp_path / "scan", modality=modality, SeriesNumber=5, SOPClassUID=kind)
    with pytest.raises(ImageReadError, match=r"exactly one CT series, but 0 fit; it holds .*--ct_series"):
        read_volume(tmp_path, "CT")
    path = next((tmp_path / "scan").iterdir()) if named == "file" else tmp_path
    image = read_volume(path, "CT", "5" if named == "series" else None)
    np.testing.assert_array_equal(image.numpy()[0], _values(stored))
    assert f"is {modality or 'of no modality'}, and read as CT because it was named" in image.meta["warnings"][0]
    assert image.meta["modality"] == "CT"
    assert find_source(tmp_path, "CT", "5").series.modality == modality


def test_ct_and_mr_are_not_taken_for_each_other_even_when_named(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "mr", modality="MR", SeriesNumber=4)
    for path, series in ((tmp_path, "4"), (tmp_path / "mr" / "MR1", None)):
        with pytest.raises(
            ImageReadError, match=r"should hold exactly one CT series.* but 0 fit; it holds MR 'small MR'"
        ):
            read_volume(path, "CT", series)


def test_a_segmentation_is_no_image_even_when_named(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "ct", StudyInstanceUID="1.2.3", StudyID="1", StudyDate="20260101", StudyTime="120000")
    labels = read_series(tmp_path / "ct")
    labels.set_array(labels * 0)
    labels[0, 1:3, 1:3, 1:3] = 1
    seg = write_seg(labels, tmp_path / "ct", tmp_path / "ct" / "seg.dcm")
    with pytest.raises(ImageReadError, match="exactly one CT series, but 0 fit; it holds SEG"):
        read_volume(seg, "CT")


def test_a_scout_that_is_named_is_read(tmp_path: Path, write_series) -> None:
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    write_series(tmp_path / "ct", SeriesInstanceUID="1.2.3.4")
    stored = write_series(tmp_path / "scout", (0.0,), SeriesInstanceUID="1.2.3.4", **scout)
    for path in (tmp_path / "scout").iterdir():
        path.rename(tmp_path / "ct" / "scout")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct" / "scout", "CT").numpy()[0], _values(stored))
    assert read_volume(tmp_path / "ct" / "CT1", "CT").shape == (1, 4, 5, 4)


def test_images_with_a_series_uid_each_are_one_series_and_that_is_said(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path, SeriesNumber=7)
    for path in tmp_path.iterdir():
        image = pydicom.dcmread(path)
        image.SeriesInstanceUID = generate_uid()
        image.save_as(path)
    for name in (None, "7"):
        image = read_series(tmp_path, "CT", series=name)
        np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
        assert "the 4 images of CT 'small CT' (number 7) have a SeriesInstanceUID each" in image.meta["warnings"][0]
