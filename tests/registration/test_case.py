from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import itk
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from pydicom.data import get_testdata_file

from spinefuse_ext.registration import Landmarks, landmarks_from_labels, register_case, write_landmarks
from spinefuse_ext.validation import (
    ImageReadError,
    LandmarkError,
    MissingPathError,
    OutputError,
    PatientMismatchError,
    SpinefuseError,
)
from spinefuse_ext.volumes import read_volume, write_volume

NAMES = ("L1", "L2", "L3", "L4")
POINTS = np.array([[4.0, 5, 6], [12, 5, 6], [4, 15, 6], [4, 5, 20]])
SHIFT_MM = np.array([3.0, -2.0, 40.0])


def ball(affine: np.ndarray, centre_mm: np.ndarray) -> MetaTensor:
    """A soft ball around a point of patient space, on a 20 x 22 x 24 grid."""
    indices = np.stack(np.meshgrid(*map(np.arange, (20, 22, 24)), indexing="ij"), -1)
    positions = indices @ affine[:3, :3].T + affine[:3, 3]
    values = 1000 * np.exp(-((positions - centre_mm) ** 2).sum(-1) / 50)
    return MetaTensor(torch.from_numpy(values)[None].float(), affine=torch.from_numpy(affine))


@pytest.fixture
def case(tmp_path: Path) -> dict[str, Path]:
    """CT and MR show one ball; in MR space everything is SHIFT_MM further, on a grid with other axes."""
    paths = {name: tmp_path / file for name, file in (("ct", "in_ct.nii.gz"), ("mr", "in_mr.nii.gz"))}
    mr_affine = np.array([[0, 0, 1.0, -2], [-1.1, 0, 0, 22], [0, 1.2, 0, 34], [0, 0, 0, 1]])
    write_volume(ball(np.eye(4), np.array([9.0, 10, 12])), paths["ct"])
    write_volume(ball(mr_affine, np.array([9.0, 10, 12]) + SHIFT_MM), paths["mr"])
    paths["ct_landmarks"], paths["mr_landmarks"] = tmp_path / "ct.mrk.json", tmp_path / "mr.fcsv"
    write_landmarks(Landmarks(NAMES, POINTS), paths["ct_landmarks"])
    write_landmarks(Landmarks(NAMES[::-1], (POINTS + SHIFT_MM)[::-1]), paths["mr_landmarks"])
    return {**paths, "out": tmp_path / "out"}


def dicom(folder: Path, name: str, **tags: str) -> Path:
    """One of pydicom's own small scans as a folder, some tags changed."""
    folder.mkdir()
    image = pydicom.dcmread(get_testdata_file(name))
    for tag, value in tags.items():
        setattr(image, tag, value)
    image.save_as(folder / name)
    return folder


def test_the_registered_mr_shows_the_same_as_the_ct_on_its_grid(case: dict[str, Path]) -> None:
    register_case(**case)
    ct, mr = read_volume(case["out"] / "ct.nii.gz"), read_volume(case["out"] / "mr.nii.gz")
    assert sorted(path.name for path in case["out"].iterdir()) == [
        "ct.nii.gz",
        "mr.nii.gz",
        "registration.json",
        "transform.tfm",
    ]
    torch.testing.assert_close(ct.as_tensor(), read_volume(case["ct"]).as_tensor())
    np.testing.assert_array_equal(ct.affine, mr.affine)
    assert ct.shape == mr.shape
    middle = (0, slice(5, 15), slice(5, 17), slice(6, 18))
    assert (ct[middle] - mr[middle]).abs().max() < 30  # of 1000: one linear interpolation of a smooth ball


def test_the_report_and_the_transform_hold_the_fit(case: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spinefuse_ext"):
        fit = register_case(**case)
    report = json.loads((case["out"] / "registration.json").read_text())
    assert report["ct"] == str(case["ct"])
    assert report["method"] == "landmarks"
    assert report["same_patient"] is None  # NIfTI names no patient
    assert report["points"].keys() == set(NAMES)
    assert report["fre_rms_mm"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(np.array(report["matrix_ras_fixed_to_moving"])[:3, 3], SHIFT_MM, atol=1e-6)
    assert 0.5 < report["ct_grid_covered_by_mr"] <= 1
    (transform,) = itk.transformread(str(case["out"] / "transform.tfm"))
    np.testing.assert_allclose(transform.TransformPoint([0.0, 0, 0]), SHIFT_MM * [-1, -1, 1], atol=1e-6)
    assert fit.summary() in caplog.text


def test_without_landmarks_the_headers_are_trusted_and_it_is_said(case: dict[str, Path]) -> None:
    register_case(case["ct"], case["ct"], case["out"])
    report = json.loads((case["out"] / "registration.json").read_text())
    assert report["method"] == "no landmarks: headers trusted"
    assert report["fre_rms_mm"] is None
    ct, mr = (read_volume(case["out"] / f"{name}.nii.gz") for name in ("ct", "mr"))
    torch.testing.assert_close(ct.as_tensor(), mr.as_tensor(), atol=1e-3, rtol=0)


def test_an_earlier_registration_is_replaced_but_no_other_folder(case: dict[str, Path]) -> None:
    register_case(**case)
    register_case(**case)
    (case["out"] / "thesis.txt").write_text("keep me")
    with pytest.raises(SpinefuseError, match=r"holds other files \(thesis.txt\); name a new folder"):
        register_case(**case)
    assert (case["out"] / "thesis.txt").read_text() == "keep me"
    with pytest.raises(SpinefuseError, match="is a file; name a folder"):
        register_case(**{**case, "out": case["ct"]})


def test_patients_must_agree(tmp_path: Path, case: dict[str, Path]) -> None:
    ct = dicom(tmp_path / "ct", "CT_small.dcm", PatientID="anna", FrameOfReferenceUID="1.2")
    mr = dicom(tmp_path / "mr", "CT_small.dcm", PatientID="bert", Modality="MR", FrameOfReferenceUID="1.2")
    with pytest.raises(
        PatientMismatchError, match=r"patient anna, but MR .* of patient bert;.*--allow_different_patients"
    ):
        register_case(ct, mr, case["out"])
    assert not case["out"].exists()
    register_case(ct, mr, case["out"], allow_different_patients=True)
    assert json.loads((case["out"] / "registration.json").read_text())["same_patient"] is False


def test_headers_of_two_frames_are_not_trusted(tmp_path: Path, case: dict[str, Path]) -> None:
    ct = dicom(tmp_path / "ct", "CT_small.dcm", FrameOfReferenceUID="1.2")
    mr = dicom(tmp_path / "mr", "CT_small.dcm", Modality="MR", FrameOfReferenceUID="1.3")
    with pytest.raises(LandmarkError, match=r"different FrameOfReferenceUIDs.*give ct_landmarks and mr_landmarks"):
        register_case(ct, mr, case["out"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ct": "absent.nii.gz"}, MissingPathError, r"CT .*absent.nii.gz does not exist"),
        ({"mr": "."}, ImageReadError, "holds no DICOM image series"),
        ({"mr_landmarks": None}, LandmarkError, "mr_landmarks is missing; give both files, or none"),
        ({"ct_landmarks": "absent.fcsv"}, MissingPathError, r"Landmark file .*absent.fcsv does not exist"),
        ({"model": "elastic"}, LandmarkError, "out of rigid, similarity, .*, got elastic"),
        ({"ct_landmarks": "far.fcsv"}, LandmarkError, "lies wholly outside CT"),
        (
            {"ct_landmarks": "two.fcsv"},
            LandmarkError,
            r"two.fcsv and .*mr.fcsv: .* only in the moving \(MR\) list: L4, L3",
        ),
    ],
)
def test_bad_input_leaves_nothing_behind(
    change: dict[str, str | None], error: type[Exception], message: str, case: dict[str, Path], tmp_path: Path
) -> None:
    write_landmarks(Landmarks(NAMES, POINTS + 500), tmp_path / "far.fcsv")
    write_landmarks(Landmarks(NAMES[:2], POINTS[:2]), tmp_path / "two.fcsv")
    is_path = {"ct", "mr", "ct_landmarks", "mr_landmarks"}
    changed = {key: tmp_path / value if value and key in is_path else value for key, value in change.items()}
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        register_case(**{**case, **changed})
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("model", ["thin_plate", "per_vertebra"])
def test_a_bending_model_writes_a_field_that_resamples_as_it_did(model: str, case: dict[str, Path]) -> None:
    register_case(**case)  # its transform.tfm must go
    fit = register_case(**case, model=model, field_spacing_mm=2.0)
    files = sorted(path.name for path in case["out"].iterdir())
    assert files == ["ct.nii.gz", "mr.nii.gz", "registration.json", "transform.h5"]
    report = json.loads((case["out"] / "registration.json").read_text())
    assert (report["model"], report["is_linear"], report["field_spacing_mm"]) == (model, False, 2.0)
    (transform,) = itk.transformread(str(case["out"] / "transform.h5"))
    for point in POINTS:
        np.testing.assert_allclose(
            transform.TransformPoint((point * [-1, -1, 1]).tolist()),
            fit.mapping(point[None])[0] * [-1, -1, 1],
            atol=0.1,
        )
    ct, mr = (read_volume(case["out"] / f"{name}.nii.gz") for name in ("ct", "mr"))
    middle = (0, slice(5, 15), slice(5, 17), slice(6, 18))
    assert (ct[middle] - mr[middle]).abs().max() < 30


def test_a_label_volume_groups_landmarks_whose_names_tell_nothing(case: dict[str, Path], tmp_path: Path) -> None:
    names = tuple("abcd")
    for file, shift in ((case["ct_landmarks"], 0), (case["mr_landmarks"], SHIFT_MM)):
        write_landmarks(Landmarks(names, POINTS + shift), file)
    with pytest.raises(LandmarkError, match=r"mr.fcsv: Expected one vertebra level in the landmark name a"):
        register_case(**case, model="per_vertebra")
    label = MetaTensor(torch.zeros(1, 20, 22, 24), affine=torch.eye(4))
    label[..., :10], label[..., 14:] = 21, 20
    write_volume(label, tmp_path / "bones.nii.gz")
    register_case(**case, model="per_vertebra", vertebrae=tmp_path / "bones.nii.gz")
    report = json.loads((case["out"] / "registration.json").read_text())
    assert list(report["vertebra_matrices_ras_fixed_to_moving"]) == ["L1", "L2"]
    assert report["vertebrae"] == str(tmp_path / "bones.nii.gz")
    with pytest.raises(LandmarkError, match=r"serves the model per_vertebra only, got .*bones.nii.gz for rigid"):
        register_case(**case, vertebrae=tmp_path / "bones.nii.gz")


def test_the_report_says_what_centring_alone_would_leave(case: dict[str, Path]) -> None:
    register_case(**case)
    centring = json.loads((case["out"] / "registration.json").read_text())["initial_centring"]
    ct, mr = read_volume(case["ct"]), read_volume(case["mr"])
    middles = [image.affine.numpy() @ [*((np.array(image.shape[1:]) - 1) / 2), 1] for image in (ct, mr)]
    shift = (middles[1] - middles[0])[:3]
    np.testing.assert_allclose(centring["shift_ras_mm"], shift, atol=1e-5)
    assert centring["landmark_distance_before_mm"] == pytest.approx(np.linalg.norm(SHIFT_MM))
    assert centring["landmark_distance_centred_mm"] == pytest.approx(np.linalg.norm(SHIFT_MM - shift), abs=1e-4)


def test_a_field_spacing_of_nothing_is_refused(case: dict[str, Path]) -> None:
    with pytest.raises(SpinefuseError, match="field spacing above 0 mm, got 0"):
        register_case(**case, field_spacing_mm=0)


@pytest.mark.assets
def test_registering_two_postures_brings_the_vertebrae_together(assets: Path, tmp_path: Path) -> None:
    folder = assets / "data/mr_spine/fastcleverseg_lumbar_1mm"
    fixed, moving = (folder / f"VB1_{name}_vertebrae.nii.gz" for name in ("AKs6_T1", "AKs8_T1b"))
    for label, name in ((fixed, "a"), (moving, "b")):
        landmarks_from_labels(label, tmp_path / f"{name}.mrk.json")
    landmarks = {"ct_landmarks": tmp_path / "a.mrk.json", "mr_landmarks": tmp_path / "b.mrk.json"}
    fit = register_case(fixed, moving, tmp_path / "out", **landmarks)
    assert (fit.fre_rms_mm, fit.tre_mean_mm) == (pytest.approx(1.70, abs=0.01), pytest.approx(2.15, abs=0.01))

    def dice(a: MetaTensor, b: MetaTensor) -> float:
        a, b = a > 0.5, b > 0.5
        return float(2 * (a & b).sum() / (a.sum() + b.sum()))

    before = dice(read_volume(fixed), read_volume(moving))
    after = dice(read_volume(tmp_path / "out/ct.nii.gz"), read_volume(tmp_path / "out/mr.nii.gz"))
    assert before == pytest.approx(0.704, abs=0.01)
    assert after > 0.8


def test_one_of_several_series_is_chosen_by_its_number_or_uid(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    for place, (number, uid) in enumerate([(3, "1.2.3.1"), (4, "1.2.3.2")]):
        tags = {"SeriesInstanceUID": uid, "SeriesNumber": number, "SOPInstanceUID": f"{uid}.9", "PatientID": "p"}
        source = dicom(tmp_path / str(place), "CT_small.dcm", **tags)
        folder.mkdir(exist_ok=True)
        (source / "CT_small.dcm").rename(folder / f"{number}.dcm")
    mr = dicom(tmp_path / "mr", "CT_small.dcm", Modality="MR", PatientID="p")
    with pytest.raises(ImageReadError, match=r"2 fit; it holds CT .*number 3, .*number 4, .*\(--ct_series\)"):
        register_case(folder, mr, tmp_path / "out")
    for name, uid in ((4, "1.2.3.2"), ("1.2.3.1", "1.2.3.1")):
        register_case(folder, mr, tmp_path / "out", ct_series=name)
        assert json.loads((tmp_path / "out" / "registration.json").read_text())["ct_series"] == uid
    write_volume(ball(np.eye(4), np.zeros(3)), tmp_path / "mr.nii.gz")
    with pytest.raises(ImageReadError, match=r"mr.nii.gz is one image, so no series 3 can be chosen"):
        register_case(folder, tmp_path / "mr.nii.gz", tmp_path / "out", ct_series=3, mr_series=3)


def test_a_series_without_a_uid_is_listed_and_chosen_by_its_description(tmp_path: Path) -> None:
    for name, description in (("a", "Bone"), ("b", "Soft")):
        dicom(tmp_path / name, "CT_small.dcm", SeriesInstanceUID=f"1.2.{ord(name)}", SeriesDescription=description)
    image = pydicom.dcmread(tmp_path / "a" / "CT_small.dcm")
    image.SeriesInstanceUID, image.SeriesNumber = "", None
    image.save_as(tmp_path / "a" / "CT_small.dcm")
    mr = dicom(tmp_path / "mr", "CT_small.dcm", Modality="MR")
    (tmp_path / "both").mkdir()
    for name in "ab":
        (tmp_path / name).rename(tmp_path / "both" / name)
    with pytest.raises(ImageReadError, match=r"CT 'Bone' \(1 slice\); CT 'Soft' \(number 1, 1 slice, 1.2.98\)"):
        register_case(tmp_path / "both", mr, tmp_path / "out")
    register_case(tmp_path / "both", mr, tmp_path / "out", ct_series="bone")
    assert json.loads((tmp_path / "out" / "registration.json").read_text())["ct_series"] == ""


def test_what_is_odd_about_images_and_labels_stands_in_the_report(case: dict[str, Path], tmp_path: Path) -> None:
    image = read_volume(case["mr"])
    image[0, -1] = 2000
    write_volume(image, case["mr"])
    label = ball(np.eye(4), np.array([9.0, 10, 12])) > 500
    flipped = np.diag([1.0, -1, 1, 1])
    flipped[1, 3] = 21
    write_volume(
        MetaTensor(label.as_tensor().flip(2).float(), affine=torch.from_numpy(flipped)), tmp_path / "bones.nii.gz"
    )
    register_case(**case, model="per_vertebra", vertebrae=tmp_path / "bones.nii.gz")
    warnings = json.loads((case["out"] / "registration.json").read_text())["warnings"]
    assert any("bones.nii.gz: its axes are flipped (axis 1)" in warning for warning in warnings)
    assert any("in_mr.nii.gz: a white frame (axis 0 high" in warning for warning in warnings)


def test_a_folder_that_holds_its_own_images_is_not_written_over(case: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("ct", "mr"):
        shutil.copy(case[name], tmp_path / "raw" / f"{name}.nii.gz")
    images = {name: tmp_path / "raw" / f"{name}.nii.gz" for name in ("ct", "mr")}
    before = images["mr"].read_bytes()
    with pytest.raises(OutputError, match=r"raw would replace the input .*ct.nii.gz; name another place"):
        register_case(**{**case, **images, "out": tmp_path / "raw"})
    assert images["mr"].read_bytes() == before


def test_a_link_as_output_and_hidden_files_in_it_stay(case: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / ".DS_Store").touch()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    register_case(**{**case, "out": tmp_path / "out"})
    assert (tmp_path / "out").is_symlink()
    assert {path.name for path in (tmp_path / "disk").iterdir()} > {".DS_Store", "ct.nii.gz", "mr.nii.gz"}
