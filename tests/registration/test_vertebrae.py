from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.registration import Landmarks, vertebrae_from_labels, vertebrae_from_names
from spinefuse_ext.validation import LandmarkError


def named(*names: str) -> Landmarks:
    return Landmarks(names, np.array([[0.0, place, -30 * place] for place in range(len(names))]))


@pytest.mark.parametrize(
    ("names", "levels", "owner", "ranks"),
    [
        (("L4 tip", "l03_left", "T12-spinous", "L4 left"), ("T12", "L3", "L4"), [2, 1, 0, 2], [0, 3, 4]),
        (("V03", "V01", "V02 left"), ("V1", "V2", "V3"), [2, 0, 1], [0, 1, 2]),
        (("S2", "S1 ala", "L5"), ("L5", "S1"), [1, 1, 0], [0, 1]),
        (("L6", "L5", "S1"), ("L5", "L6", "S1"), [1, 0, 2], [0, 1, 2]),
    ],
    ids=["anatomical", "counted", "sacrum", "sixth lumbar"],
)
def test_levels_are_read_from_names_head_down(
    names: tuple[str, ...], levels: tuple[str, ...], owner: list[int], ranks: list[int]
) -> None:
    bones = vertebrae_from_names(named(*names))
    assert bones.names == levels
    assert bones.owner.tolist() == owner
    assert (bones.ranks - bones.ranks[0]).tolist() == ranks
    assert bones.centres_mm.shape == (len(levels), 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("L3 tip", "tip"), r"one vertebra level in the landmark name tip, got none.*--vertebrae"),
        (("L3 tip", "L3/L4 disc"), r"name L3/L4 disc, got L3, L4"),
        (("L3 tip", "V02"), r"names of one kind, got L3, V2"),
        (("L9 tip",), r"name L9 tip, got L9"),
        (("ALL3 tip",), r"name ALL3 tip, got none"),
    ],
)
def test_names_that_tell_no_single_level_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        vertebrae_from_names(named(*names))


@pytest.fixture
def label() -> MetaTensor:
    """Three blocks of 10 mm, numbered out of order, at z 5, 25 and 45 mm."""
    volume = torch.zeros(1, 5, 5, 25)
    for number, start in ((22, 0), (7, 10), (20, 20)):
        volume[..., start : start + 5] = number
    return MetaTensor(volume, affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))


def test_labels_give_each_landmark_to_the_nearest_bone_whatever_its_name(label: MetaTensor) -> None:
    points = Landmarks(("a", "b", "c"), np.array([[4.0, 4, 4], [4, 4, 33], [4, 12, 46]]))
    bones = vertebrae_from_labels(points, label, Path("v.nii.gz"))
    assert bones.names == ("20", "7", "22")  # from the head down, not by number; L1 above C7 would be no spine
    assert bones.owner.tolist() == [2, 1, 0]
    np.testing.assert_allclose(bones.centres_mm[:, 2], [44, 24, 4])


def test_labels_that_do_not_fit_the_landmarks_are_refused(label: MetaTensor) -> None:
    far = Landmarks(("a", "far"), np.array([[4.0, 4, 4], [4, 4, 90]]))
    with pytest.raises(LandmarkError, match=r"Landmark far lies 42 mm from the nearest vertebra in v.nii.gz"):
        vertebrae_from_labels(far, label, Path("v.nii.gz"))
    with pytest.raises(LandmarkError, match=r"v.nii.gz holds no labelled vertebra"):
        vertebrae_from_labels(far, torch.zeros_like(label), Path("v.nii.gz"))


def test_a_label_volume_that_is_none_is_refused_and_rounding_is_not() -> None:
    label = MetaTensor(torch.zeros(1, 8, 8, 8))
    label[0, 2:6, 2:6, 2:6] = 19.9996
    points = Landmarks(("a", "b", "c"), np.array([[2.0, 3, 3], [4, 4, 4], [5, 3, 4]]))
    assert vertebrae_from_labels(points, label, Path("v.nii.gz")).names == ("L1",)
    label[0, 0, 0, 0] = -1000
    with pytest.raises(LandmarkError, match=r"v.nii.gz is no label volume: .* got values such as -1000; name"):
        vertebrae_from_labels(points, label, Path("v.nii.gz"))
