from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.dicom import write_volume
from spinefuse_ext.registration import landmarks_from_labels, read_landmarks
from spinefuse_ext.validation import LandmarkError, MissingPathError


@pytest.fixture
def label_path(tmp_path: Path) -> Path:
    """Three cubes whose numbers are not in anatomical order, in a volume whose z axis points down."""
    label = torch.zeros(1, 6, 6, 12)
    label[0, 1:3, 1:3, 0:2], label[0, 2:4, 2:4, 5:7], label[0, 1:3, 3:5, 9:11] = 20, 22, 21
    affine = torch.diag(torch.tensor([2.0, 2.0, -3.0, 1.0], dtype=torch.float64))
    write_volume(MetaTensor(label, affine=affine), tmp_path / "label.nii.gz")
    return tmp_path / "label.nii.gz"


@pytest.mark.parametrize(
    ("order", "names", "first"),
    [
        ("top_down", ("V01", "V02", "V03"), [3.0, 3.0, -1.5]),  # centre of voxels 1-2, 1-2, 0-1
        ("number", ("20", "21", "22"), [3.0, 3.0, -1.5]),
        ("vertebra", ("L1", "L2", "L3"), [3.0, 3.0, -1.5]),
    ],
)
def test_points_are_centroids_in_patient_space(
    label_path: Path, order: str, names: tuple[str, ...], first: list[float], tmp_path: Path
) -> None:
    landmarks = landmarks_from_labels(label_path, tmp_path / "out.mrk.json", order=order)
    assert landmarks.names == names
    np.testing.assert_allclose(landmarks.points_mm[0], first)
    np.testing.assert_array_equal(read_landmarks(tmp_path / "out.mrk.json").points_mm, landmarks.points_mm)


def test_top_down_follows_height_and_number_does_not(label_path: Path, tmp_path: Path) -> None:
    top_down = landmarks_from_labels(label_path, tmp_path / "a.fcsv").points_mm
    by_number = landmarks_from_labels(label_path, tmp_path / "b.fcsv", order="number").points_mm
    assert (np.diff(top_down[:, 2]) < 0).all()
    np.testing.assert_array_equal(top_down[[0, 2, 1]], by_number)


@pytest.mark.parametrize(("labels", "count"), [(22, 1), ((22, 20), 2), (None, 3)])
def test_labels_can_be_chosen(
    label_path: Path, labels: int | tuple[int, ...] | None, count: int, tmp_path: Path
) -> None:
    assert len(landmarks_from_labels(label_path, tmp_path / "a.fcsv", labels=labels).names) == count


def test_bad_requests_write_nothing(label_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mrk.json"
    with pytest.raises(LandmarkError, match=r"has no label 7; it has \[20, 21, 22\]"):
        landmarks_from_labels(label_path, out, labels=(20, 7))
    with pytest.raises(LandmarkError, match="out of top_down, number, vertebra, got sideways"):
        landmarks_from_labels(label_path, out, order="sideways")
    with pytest.raises(MissingPathError, match=r"absent.nii.gz does not exist"):
        landmarks_from_labels(tmp_path / "absent.nii.gz", out)
    grey = MetaTensor(torch.rand(1, 3, 3, 3), affine=torch.eye(4))
    write_volume(grey, tmp_path / "grey.nii.gz")
    with pytest.raises(LandmarkError, match="is no label volume"):
        landmarks_from_labels(tmp_path / "grey.nii.gz", out)
    write_volume(MetaTensor(torch.full((1, 3, 3, 3), 100.0), affine=torch.eye(4)), tmp_path / "many.nii.gz")
    with pytest.raises(LandmarkError, match=r"labels \[100\] that the table of vertebrae lacks"):
        landmarks_from_labels(tmp_path / "many.nii.gz", out, order="vertebra")
    assert not out.exists()
