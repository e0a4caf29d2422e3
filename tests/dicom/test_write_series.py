from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from spinefuse_ext.dicom import StudyHeader, write_series

STUDY = StudyHeader(patient_id="P-7", patient_name="Doe^Jo")


def _image(low: int, high: int, affine: np.ndarray | None = None) -> MetaTensor:
    values = torch.randint(low, high, (1, 7, 6, 5), dtype=torch.int16)
    return MetaTensor(values, affine=torch.as_tensor(np.diag([0.7, 0.8, 2.5, 1.0]) if affine is None else affine))


def _oblique() -> np.ndarray:
    """Sagittal storage (columns posterior, rows inferior, slices right), turned by 10 degrees about superior."""
    turn = np.deg2rad(10)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]) @ np.diag([0.8, 0.9, 3.5])
    affine[:3, 3] = (12.5, -30.25, 41.0)
    return affine


def _headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(("modality", "low"), [("CT", -1024), ("MR", 0)])
@pytest.mark.parametrize("oblique", [False, True])
def test_values_and_places_survive_the_round_trip(tmp_path: Path, modality: str, low: int, oblique: bool) -> None:
    image = _image(low, 3000, _oblique() if oblique else None)
    folder = write_series(image, tmp_path / "series", modality=modality, study=STUDY)
    read = LoadImage(image_only=True, ensure_channel_first=True, reader="ITKReader")(folder)
    move = np.linalg.inv(np.asarray(read.affine)) @ np.asarray(image.affine)
    index = np.indices(image.shape[1:]).reshape(3, -1)
    where = move[:3, :3] @ index + move[:3, 3:]
    np.testing.assert_allclose(where, np.rint(where), atol=1e-3)
    found = read[0].numpy()[tuple(np.rint(where).astype(int))]
    np.testing.assert_array_equal(found, image[0].numpy().reshape(-1))


def test_axial_pictures_stand_upright(tmp_path: Path) -> None:
    first = _headers(write_series(_image(0, 9), tmp_path / "ct", modality="CT", study=STUDY))[0]
    np.testing.assert_allclose(first.ImageOrientationPatient, [1, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(first.PixelSpacing, [0.8, 0.7])  # rows are 0.8 mm apart
    assert (first.Rows, first.Columns, float(first.SliceThickness)) == (6, 7, 2.5)


def test_series_of_a_study_share_patient_and_study_only(tmp_path: Path) -> None:
    ct = _headers(write_series(_image(0, 9), tmp_path / "ct", modality="CT", study=STUDY))
    mr = _headers(write_series(_image(0, 9), tmp_path / "mr", modality="MR", study=STUDY, series_number=2))
    for name in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert len({str(each[name].value) for each in (*ct, *mr)}) == 1
    for name in ("SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID"):
        assert len({each[name].value for each in ct}) == 1
        assert ct[0][name].value != mr[0][name].value
    assert len({each.SOPInstanceUID for each in (*ct, *mr)}) == 10
    assert ct[0].file_meta.MediaStorageSOPInstanceUID == ct[0].SOPInstanceUID


def test_ct_carries_its_rescale_and_mr_has_none(tmp_path: Path) -> None:
    ct = _headers(write_series(_image(-1000, 900), tmp_path / "ct", modality="CT", study=STUDY))[0]
    mr = _headers(write_series(_image(0, 9), tmp_path / "mr", modality="MR", study=STUDY))[0]
    assert (float(ct.RescaleSlope), float(ct.RescaleIntercept)) == (1.0, -1024.0)
    assert "RescaleSlope" not in mr


def test_writing_twice_gives_the_same_bytes_and_other_pixels_another_series(tmp_path: Path) -> None:
    image = _image(0, 900)
    first, second = (write_series(image, tmp_path / name, modality="MR", study=STUDY) for name in "ab")
    assert [path.read_bytes() for path in sorted(first.iterdir())] == [p.read_bytes() for p in sorted(second.iterdir())]
    other = write_series(_image(0, 900), tmp_path / "c", modality="MR", study=STUDY)
    assert _headers(other)[0].SeriesInstanceUID != _headers(first)[0].SeriesInstanceUID


def test_a_given_frame_of_reference_is_kept(tmp_path: Path) -> None:
    options = {"modality": "CT", "study": STUDY, "frame_of_reference": "1.2.3.4"}
    assert _headers(write_series(_image(0, 9), tmp_path / "ct", **options))[0].FrameOfReferenceUID == "1.2.3.4"


def test_unfit_volumes_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(ValueError, match="axes at right angles"):
        write_series(_image(0, 9, sheared), tmp_path / "out", modality="CT", study=STUDY)
    with pytest.raises(ValueError, match="MR values from 0 to 65535, got -5"):
        write_series(_image(-5, -4), tmp_path / "out", modality="MR", study=STUDY)
    with pytest.raises(ValueError, match=r"\(1, X, Y, Z\), got \(2, 4, 4\)"):
        write_series(MetaTensor(torch.zeros(2, 4, 4)), tmp_path / "out", modality="CT", study=STUDY)
    with pytest.raises(ValueError, match="PET"):
        write_series(_image(0, 9), tmp_path / "out", modality="PET", study=STUDY)
    assert not (tmp_path / "out").exists()
