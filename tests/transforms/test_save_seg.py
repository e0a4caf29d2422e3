from __future__ import annotations

import sys
from pathlib import Path

import pydicom
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.data import CaseLayout
from spinefuse_ext.dicom import StudyHeader, read_seg, write_series
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.transforms import SaveSegd
from spinefuse_ext.validation import ImageReadError, SegError

SHAPE = (1, 6, 5, 4)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    image = MetaTensor(torch.zeros(SHAPE), affine=torch.eye(4))
    return write_series(image, tmp_path / "scan" / "ct", modality="CT", study=StudyHeader("p", "Doe^Jo"))


def _save(folder: Path) -> SaveSegd:
    layout = CaseLayout(folder / "out", "prediction", folder / "scan", ".dcm")
    return SaveSegd("pred", labels=list(STRUCTURES.values()), folder_layout=layout)


def _prediction(source: Path) -> MetaTensor:
    voxels = torch.zeros(SHAPE)
    voxels[0, 1:3, 2, 1:4] = 3
    return MetaTensor(voxels, affine=torch.eye(4), meta={"filename_or_obj": str(source)})


def test_a_prediction_of_a_dicom_folder_or_of_one_of_its_files_becomes_a_seg(series: Path, tmp_path: Path) -> None:
    for source, place in ((series, "out"), (series / "CT_0001.dcm", "out/ct")):
        data = {"pred": _prediction(source)}
        assert _save(tmp_path)(data)["pred"] is data["pred"]
        (canal,) = read_seg(tmp_path / place / "prediction.dcm")
        assert (canal.label, canal.voxels) == ("canal", 6)
        assert canal.centroid_mm == pytest.approx([1.5, 2, 2])


def test_an_empty_prediction_gives_a_warning_and_no_file(
    series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _save(tmp_path)({"pred": _prediction(series) * 0})
    assert "no structure was found, so no DICOM SEG was written" in caplog.text
    assert not (tmp_path / "out").exists()


def test_without_highdicom_a_seg_that_nobody_asked_for_is_a_warning(
    series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setattr("spinefuse_ext.transforms.save_seg.find_spec", lambda name: None)
    _save(tmp_path)({"pred": _prediction(series)})
    assert "highdicom is not installed; `pip install highdicom` brings it" in caplog.text
    assert not (tmp_path / "out").exists()
    with pytest.raises(SegError, match="needs the package highdicom"):
        _save(tmp_path)({"pred": _prediction(series), "dicom": str(series)})


def test_an_image_that_is_no_dicom_needs_a_named_series(series: Path, tmp_path: Path) -> None:
    image = tmp_path / "scan" / "fused.nii.gz"
    image.touch()
    _save(tmp_path)({"pred": _prediction(image)})
    assert not (tmp_path / "out").exists()
    _save(tmp_path)({"pred": _prediction(image), "dicom": str(series)})
    assert (tmp_path / "out" / "prediction.dcm").exists()


@pytest.mark.parametrize("modality", ["CT", None])
def test_of_a_named_folder_with_several_series_the_modality_says_which(
    modality: str | None, series: Path, tmp_path: Path
) -> None:
    image = MetaTensor(torch.zeros(SHAPE), affine=torch.eye(4))
    write_series(image, series.parent / "mr", modality="MR", study=StudyHeader("p", "Doe^Jo"))
    layout = CaseLayout(tmp_path / "out", "prediction", tmp_path, ".dcm")
    save = SaveSegd("pred", labels=list(STRUCTURES.values()), folder_layout=layout, modality=modality)
    data = {"pred": _prediction(tmp_path / "fused.nii.gz"), "dicom": str(series.parent)}
    if modality is None:
        with pytest.raises(ImageReadError, match="exactly one series, but 2 fit"):
            save(data)
        return
    save(data)
    (canal,) = read_seg(tmp_path / "out" / "prediction.dcm")
    assert canal.frame_of_reference == pydicom.dcmread(series / "CT_0001.dcm").FrameOfReferenceUID
    (tmp_path / "out" / "prediction.dcm").unlink()
    save({**data, "dicom": str(series.parent / "mr")})  # which holds no CT
    assert (tmp_path / "out" / "prediction.dcm").exists()


def test_there_is_one_file_for_a_case(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected one key"):
        SaveSegd(["pred", "other"], labels=["background"], folder_layout=CaseLayout(tmp_path, "prediction"))
