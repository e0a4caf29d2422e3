from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.data import CaseLayout
from spinefuse_ext.dicom import StudyHeader, write_series
from spinefuse_ext.transforms import SaveFusedSeriesd
from spinefuse_ext.validation import SourceError

SHAPE = (1, 6, 5, 4)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    image = MetaTensor(torch.zeros(SHAPE), affine=torch.eye(4))
    for name in ("ct", "mr"):
        write_series(image, tmp_path / "scan" / name, modality=name.upper(), study=StudyHeader("p", "Doe^Jo"))
    return tmp_path / "scan"


def _save(folder: Path) -> SaveFusedSeriesd:
    layout = CaseLayout(folder / "out", "fused_dicom", folder / "scan", "")
    return SaveFusedSeriesd("pred", folder_layout=layout)


def _image(source: Path) -> MetaTensor:
    return MetaTensor(torch.full(SHAPE, 0.25), affine=torch.eye(4), meta={"filename_or_obj": str(source)})


def _sources(folder: Path) -> list[str]:
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    assert len(images) == SHAPE[3]
    assert all((image.pixel_array == 2500).all() for image in images)
    return [item.ReferencedSOPClassUID.name for item in images[0].SourceImageSequence]


def test_a_ct_and_an_mr_that_were_dicom_are_referred_to(scans: Path, tmp_path: Path) -> None:
    data = {"pred": _image(scans / "ct"), "mr": _image(scans / "mr")}
    assert _save(tmp_path)(data)["pred"] is data["pred"]
    assert _sources(tmp_path / "out/fused_dicom") == ["CT Image Storage"] + ["MR Image Storage"] * SHAPE[3]


def test_an_mr_that_was_no_dicom_is_left_out(scans: Path, tmp_path: Path) -> None:
    (scans / "mr.nii.gz").touch()
    _save(tmp_path)({"pred": _image(scans / "ct"), "mr": _image(scans / "mr.nii.gz")})
    assert _sources(tmp_path / "out/fused_dicom") == ["CT Image Storage"]


def test_a_ct_that_is_no_dicom_needs_a_named_series(scans: Path, tmp_path: Path) -> None:
    (scans / "ct.nii.gz").touch()
    _save(tmp_path)({"pred": _image(scans / "ct.nii.gz"), "mr": _image(scans / "mr")})
    assert not (tmp_path / "out").exists()
    _save(tmp_path)({"pred": _image(scans / "ct.nii.gz"), "dicom": str(scans / "ct")})
    assert _sources(tmp_path / "out/fused_dicom") == ["CT Image Storage"]


@pytest.mark.parametrize("name", ["ct", "mr"])
def test_a_series_without_uids_is_a_warning_unless_it_was_asked_for(
    name: str, scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (scans / name).iterdir():
        image = pydicom.dcmread(path)
        image.SOPInstanceUID = ""
        image.save_as(path)
    data = {"pred": _image(scans / "ct"), "mr": _image(scans / "mr")}
    _save(tmp_path)(data)
    assert "no DICOM series was written" in caplog.text
    assert f"{name}/{name.upper()}_0001.dcm has no SOPInstanceUID" in caplog.text
    assert not (tmp_path / "out").exists()
    with pytest.raises(SourceError, match="has no SOPInstanceUID"):
        _save(tmp_path)({**data, "dicom": str(scans / "ct")})


def test_there_is_one_series_for_a_case(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected one key"):
        SaveFusedSeriesd(["pred", "other"], folder_layout=CaseLayout(tmp_path, "fused_dicom"))
