"""The labels of a training are looked at before it begins."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.data import check_labels
from spinefuse_ext.validation import GridMismatchError, UnknownLabelError

AFFINE = np.diag([2.0, 2, 2, 1])
AFFINE[:3, 3] = 5, 6, 7


def case(folder: Path, name: str, values: list[int], affine: np.ndarray = AFFINE) -> dict[str, str]:
    """A case whose label holds the values, a voxel of each."""
    place = folder / name
    place.mkdir()
    label = np.zeros((4, 4, 4), np.uint8)
    label.flat[: len(values)] = values
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.float32), AFFINE), place / "fused.nii.gz")
    nib.save(nib.Nifti1Image(label, affine), place / "label.nii.gz")
    return {"patient": name, "fused": str(place / "fused.nii.gz"), "label": str(place / "label.nii.gz")}


def test_empty_labels_and_classes_that_no_case_has_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [case(tmp_path, "a", [1]), case(tmp_path, "b", [])]
    told = check_labels(items * 3, ["fused"])
    assert told == [
        f"{items[1]['label']} holds no labelled voxel",
        "No label of these cases holds disc or canal or sacrum: the network cannot learn it.",
    ]
    assert [message for message in caplog.messages if message in told] == told
    scored = check_labels([case(tmp_path, "c", [1, 2, 4])], ["fused"], learn=False)
    assert scored == ["No label of these cases holds canal: it is not in the truth, and is not scored."]
    assert check_labels([case(tmp_path, "d", [1, 2, 3, 4])], ["fused"]) == []
    assert check_labels([], ["fused"]) == check_labels([{"fused": items[0]["fused"]}], ["fused"]) == []


def test_a_label_that_cannot_be_used_is_refused_by_its_file(tmp_path: Path) -> None:
    good = case(tmp_path, "a", [1, 2, 3, 4])
    with pytest.raises(GridMismatchError, match=r"b/label.nii.gz has as many voxels as its image .*b/fused.nii.gz"):
        check_labels([good, case(tmp_path, "b", [1], np.eye(4))], ["fused"])
    other = case(tmp_path, "c", [1, 7])
    with pytest.raises(UnknownLabelError, match=r"c/label.nii.gz holds the values 7, but the labels are"):
        check_labels([good, other], ["fused"])
    assert check_labels([good, other], ["fused"], relabel={1: 1, 2: 2, 3: 3, 4: 4, 7: 0}) == []
