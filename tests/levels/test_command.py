from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.dicom.write_series import StudyHeader, write_series
from spinefuse_ext.labels import LEVEL_SNOMED_CT, structure_coded
from spinefuse_ext.levels import levels, read_levels
from spinefuse_ext.levels.ids import SCHEMES, number_of
from spinefuse_ext.levels.read import read_structures
from spinefuse_ext.registration import landmarks_from_labels
from spinefuse_ext.validation import ConfigError, GridMismatchError, LevelsError, UnknownLabelError
from spinefuse_ext.volumes.read_label import read_label

Boxes = Callable[..., NDArray[np.uint8]]
Affine = NDArray[np.float64]


@pytest.fixture
def label(boxes: Boxes, affine: Affine, tmp_path: Path) -> Path:
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(boxes(3), affine), path)
    return path


def test_the_files_tell_one_thing(label: Path, tmp_path: Path) -> None:
    found = levels(label, tmp_path / "out")
    numbers = np.asarray(nib.load(tmp_path / "out" / "levels.nii.gz").dataobj)
    assert {level.number for level in found.levels} | {0} == set(np.unique(numbers).tolist())
    record = json.loads((tmp_path / "out" / "levels.json").read_text())
    assert [each["name"] for each in record["levels"]] == ["L3", "L3/L4", "L4", "L4/L5", "L5", "L5/S1", "S1"]
    ml = {each["name"]: each["volume_ml"] for each in record["levels"]}
    assert ml["L4"] == pytest.approx((numbers == 23).sum() * 0.008, abs=1e-3)
    assert (tmp_path / "out" / "levels.png").stat().st_size > 10_000
    again = read_levels(tmp_path / "out")
    assert [level.name for level in again.levels] == [level.name for level in found.levels]
    assert again.doubts == found.doubts


def test_other_verbs_read_the_levels(label: Path, tmp_path: Path, boxes: Boxes) -> None:
    levels(label, tmp_path / "out")
    classes = read_label(tmp_path / "out" / "levels.nii.gz").numpy()[0]
    assert (classes == np.where(boxes(3) == 3, 0, boxes(3))).all()
    points = landmarks_from_labels(tmp_path / "out" / "levels.nii.gz", tmp_path / "points.fcsv", order="vertebra")
    assert {"L3", "L4", "L5"} <= set(points.names)


@pytest.fixture
def series(boxes: Boxes, affine: Affine, tmp_path: Path) -> Path:
    """A CT series on whose images the labels lie."""
    hu = torch.as_tensor(np.choose(boxes(3), [0, 300, 80, 20, 300]).astype(np.float32))[None]
    study = StudyHeader(patient_id="P1", patient_name="Doe^Jane")
    return write_series(MetaTensor(hu, affine=torch.as_tensor(affine)), tmp_path / "ct", modality="CT", study=study)


def test_named_levels_become_a_dicom_seg_with_their_codes(label: Path, series: Path, tmp_path: Path) -> None:
    levels(label, tmp_path / "out", dicom=series)
    written = pydicom.dcmread(tmp_path / "out" / "levels.dcm")
    coded = {item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in written.SegmentSequence}
    assert set(coded) == {"L3", "L3/L4", "L4", "L4/L5", "L5", "L5/S1", "S1"}
    assert coded["L4"] == LEVEL_SNOMED_CT["L4"][0]


def test_levels_without_names_are_refused_before_anything_is_written(
    boxes: Boxes, affine: Affine, series: Path, tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(boxes(3, sacrum=False), affine), tmp_path / "counted.nii.gz")
    with pytest.raises(LevelsError, match="needs their names, but these are counted"):
        levels(tmp_path / "counted.nii.gz", tmp_path / "out", dicom=series)
    assert not (tmp_path / "out").exists()


def test_numbers_of_totalsegmentator(label: Path, tmp_path: Path) -> None:
    found = levels(label, tmp_path / "out", ids="totalsegmentator")
    assert [level.number for level in found.levels] == [29, 129, 28, 128, 27, 127, 25]


def test_labels_of_another_program_are_read_by_its_scheme(boxes: Boxes, affine: Affine, tmp_path: Path) -> None:
    classes = boxes(3)
    theirs = np.choose(classes, [0, 30, 7, 79, 25]).astype(np.uint8)  # one vertebra's number for all, and an organ
    path = tmp_path / "theirs.nii.gz"
    nib.save(nib.Nifti1Image(theirs, affine), path)
    read, _ = read_structures(path, "totalsegmentator")
    assert (read == np.where(classes == 2, 0, classes)).all()
    found = levels(path, tmp_path / "out", scheme="totalsegmentator")
    assert found.told() == "L3, L4, L5"


def test_relabel_says_what_numbers_are(boxes: Boxes, affine: Affine, tmp_path: Path) -> None:
    path = tmp_path / "theirs.nii.gz"
    nib.save(nib.Nifti1Image(boxes(3) + np.uint8(10) * (boxes(3) > 0), affine), path)
    with pytest.raises(UnknownLabelError):
        levels(path, tmp_path / "out")
    named = {11: "vertebra", 12: "disc", 13: "canal", 14: "sacrum"}
    assert levels(path, tmp_path / "out", relabel=named).told() == "L3, L4, L5"


def test_landmarks_name_the_levels(boxes: Boxes, affine: Affine, tmp_path: Path) -> None:
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(boxes(3, sacrum=False), affine), path)
    x, y, z = levels(path, tmp_path / "plain").vertebrae[1].centroid_mm
    (tmp_path / "points.csv").write_text(f"name,R,A,S\nT12 front,{x},{y + 12},{z}\n")
    found = levels(path, tmp_path / "out", landmarks=tmp_path / "points.csv")
    assert found.told() == "T11, T12, L1"
    assert found.vertebrae[1].evidence == "landmark T12 front"


def test_nothing_is_left_behind_by_an_error(label: Path, tmp_path: Path) -> None:
    with pytest.raises(LevelsError):
        levels(label, tmp_path / "out", anchor="L3@900,0,0")
    assert not (tmp_path / "out").exists()


def test_bad_choices_are_refused(label: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ids"):
        levels(label, tmp_path / "out", ids="mine")
    with pytest.raises(ConfigError, match="scheme"):
        levels(label, tmp_path / "out", scheme="mine")
    with pytest.raises(ConfigError, match="leave one out"):
        levels(label, tmp_path / "out", scheme="verse", relabel={1: "vertebra"})


def test_an_image_on_another_grid_is_refused(label: Path, affine: Affine, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine), tmp_path / "ct.nii.gz")
    with pytest.raises(GridMismatchError, match=r"ct\.nii\.gz"):
        levels(label, tmp_path / "out", image=tmp_path / "ct.nii.gz")


@pytest.mark.parametrize("ids", ["verse", "totalsegmentator"])
def test_no_two_levels_share_a_number(ids: str) -> None:
    bones = [name for name in LEVEL_SNOMED_CT if "/" not in name]
    discs = [f"{name}/x" for name in bones if name != "S1"]
    numbers = [number_of(name, ids) for name in [*bones, *discs, "V1", "V40", "V1/V2"]]
    assert len(set(numbers)) == len(numbers)


def test_every_code_of_a_level_means_its_structure() -> None:
    for name, (code, _) in LEVEL_SNOMED_CT.items():
        assert structure_coded(code) == ("disc" if "/" in name else "sacrum" if name == "S1" else "vertebra")


def test_schemes_name_structures() -> None:
    named = {structure for ranges in SCHEMES.values() for _, _, structure in ranges}
    assert named <= {"vertebra", "disc", "canal", "sacrum"}
