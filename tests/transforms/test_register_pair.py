from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.data import make_phantom, write_phantom
from spinefuse_ext.enums import CaseKeys, RegistrationKeys
from spinefuse_ext.registration import Landmarks, read_landmarks, register_case, write_landmarks
from spinefuse_ext.transforms import ReadVolumed, RegisterPaird
from spinefuse_ext.validation import LandmarkError, MissingPathError, PatientMismatchError
from spinefuse_ext.volumes import read_volume

READ = ReadVolumed(["ct", "mr"], modality=["CT", "MR"])


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_phantom(3, size_mm=(56, 80, 88), spacing_mm=3.0, landmarks_per_vertebra=4)
    return write_phantom(made, tmp_path_factory.mktemp("p") / "p")


def item(phantom: Path, **changed: Any) -> dict[str, Any]:
    """Raw DICOM series with the landmarks that say how they lie to each other."""
    images = {name: str(phantom / f"{name}_dicom") for name in ("ct", "mr")}
    points = {f"{name}_landmarks": str(phantom / f"{name}_landmarks.fcsv") for name in ("ct", "mr")}
    return {"patient": "p", **images, **points, **changed}


def registered(phantom: Path, out: Path, **options: Any) -> MetaTensor:
    points = {f"{name}_landmarks": phantom / f"{name}_landmarks.fcsv" for name in ("ct", "mr")}
    register_case(phantom / "ct_dicom", phantom / "mr_dicom", out, **points, **options)
    return read_volume(out / "mr.nii.gz")


@pytest.mark.parametrize("model", ["rigid", "per_vertebra"])
def test_the_mr_is_what_register_writes(
    model: str, phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bones = {"vertebrae": phantom / "vertebrae.nii.gz"}
    expected = registered(phantom, tmp_path / "out", model=model, **(bones if model == "per_vertebra" else {}))
    with caplog.at_level(logging.INFO, logger="spinefuse_ext"):
        found = RegisterPaird("mr", "ct", model=model)(READ(item(phantom, vertebrae=str(bones["vertebrae"]))))
    assert found.keys() == {"patient", "ct", "mr"}
    torch.testing.assert_close(found["mr"].as_tensor(), expected.as_tensor(), atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(found["mr"].affine, found["ct"].affine)
    assert f"{model} fit on" in caplog.text


def test_a_transform_file_does_the_same_as_the_landmarks_it_came_from(phantom: Path, tmp_path: Path) -> None:
    expected = registered(phantom, tmp_path / "out")
    case = item(phantom, transform=str(tmp_path / "out/transform.tfm"))
    del case["ct_landmarks"], case["mr_landmarks"]
    found = RegisterPaird("mr", "ct")(READ(case))
    torch.testing.assert_close(found["mr"].as_tensor(), expected.as_tensor(), atol=1e-2, rtol=1e-4)


def test_the_names_of_earlier_items_are_read_as_before(phantom: Path) -> None:
    case = item(phantom)
    older = {
        key.replace("ct_landmarks", "landmarks_ct").replace("mr_landmarks", "landmarks_mr"): case[key] for key in case
    }
    assert "landmarks_ct" in older
    registered_mr, as_before = (RegisterPaird("mr", "ct")(READ(each))["mr"] for each in (case, older))
    torch.testing.assert_close(registered_mr, as_before, atol=0, rtol=0)


def test_a_case_that_names_no_such_file_stays_as_it_is(phantom: Path) -> None:
    images = {"ct": str(phantom / "ct.nii.gz"), "mr": str(phantom / "mr.nii.gz")}
    given = READ({"patient": "p", **images, "vertebrae": str(phantom / "vertebrae.nii.gz")})
    found = RegisterPaird("mr", "ct", model="per_vertebra")(given)
    assert found.keys() == {"patient", "ct", "mr"}
    assert found["mr"] is given["mr"]


def test_series_that_share_no_space_need_such_a_file(phantom: Path) -> None:
    given = READ(item(phantom, ct_landmarks=None, mr_landmarks=None))
    with pytest.raises(LandmarkError, match=r"ct_dicom and MR .*mr_dicom have different FrameOfReferenceUIDs"):
        RegisterPaird("mr", "ct")(given)
    given["mr"].meta["frame_of_reference"] = given["ct"].meta["frame_of_reference"]
    assert RegisterPaird("mr", "ct")(given)["mr"] is given["mr"]
    given["mr"].meta["patient_id"] = "another"
    with pytest.raises(PatientMismatchError, match="of patient another"):
        RegisterPaird("mr", "ct")(given)


def test_refining_changes_the_result_or_says_why_not(phantom: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spinefuse_ext"):
        RegisterPaird("mr", "ct", refine=True)(READ(item(phantom)))
    assert "Refinement kept: " in caplog.text or "Refinement not kept: " in caplog.text


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mr_landmarks": None}, LandmarkError, "mr_landmarks is missing; give both files, or none"),
        ({"ct_landmarks": "absent.fcsv"}, MissingPathError, "Landmark file absent.fcsv does not exist"),
        ({"transform": "x.tfm"}, LandmarkError, "Expected landmarks or a transform file, got both"),
        ({"ct_landmarks": "far.fcsv"}, LandmarkError, "lies wholly outside CT .*ct_dicom"),
    ],
)
def test_what_register_refuses_is_refused(
    changed: dict[str, Any], error: type[Exception], message: str, phantom: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    points = read_landmarks(phantom / "ct_landmarks.fcsv")
    write_landmarks(Landmarks(points.names, points.points_mm + 900), tmp_path / "far.fcsv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        RegisterPaird("mr", "ct")(READ(item(phantom, **changed)))


def test_patients_must_agree_unless_allowed(phantom: Path, tmp_path: Path) -> None:
    other = make_phantom(4, size_mm=(48, 64, 64), spacing_mm=4.0)
    write_phantom(other, tmp_path / "other")
    case = item(phantom, mr=str(tmp_path / "other/mr_dicom"))
    with pytest.raises(PatientMismatchError, match=r"patient PHANTOM-0003, but MR .* of patient PHANTOM-0004"):
        RegisterPaird("mr", "ct")(READ(case))
    RegisterPaird("mr", "ct", allow_different_patients=True)(READ(case))


def test_no_key_is_one_that_spacing_takes_for_an_images_own() -> None:
    """MONAI 1.6's Spacingd updates every entry whose key starts with an image's key and an underscore."""
    assert not any(name.startswith(f"{key}_") for name in RegistrationKeys for key in CaseKeys)
