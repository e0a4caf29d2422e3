from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.registration import landmarks_from_labels, read_landmarks
from spinefuse_ext.validation import LandmarkError, MissingPathError
from spinefuse_ext.volumes import write_volume


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


def stack(folder: Path, *from_the_head: int, gap_mm: float = 40.0) -> Path:
    """A label volume with these numbers from the head down, ``gap_mm`` apart, z axis up."""
    label = torch.zeros(1, 4, 4, 2 * len(from_the_head))
    for place, number in enumerate(reversed(from_the_head)):
        label[0, 1:3, 1:3, 2 * place] = number
    path = folder / f"{'_'.join(map(str, from_the_head))}.nii.gz"
    write_volume(MetaTensor(label, affine=torch.diag(torch.tensor([5.0, 5, gap_mm / 2, 1], dtype=torch.float64))), path)
    return path


@pytest.mark.parametrize(
    ("numbers", "scheme", "names"),
    [
        pytest.param((19, 20, 24, 26), None, {"T12", "L1", "L5", "S1"}, id="verse-counts-down"),
        pytest.param((31, 28, 27, 26), None, {"L1", "L4", "L5", "S1"}, id="totalsegmentator-counts-up"),
        pytest.param((28, 26), None, {"L4", "S1"}, id="a-T13-would-lie-further-from-the-sacrum"),
        pytest.param((19, 28, 20), None, {"T12", "T13", "L1"}, id="a-T13-between-T12-and-L1"),
        pytest.param((32, 5, 31, 92), None, {"T12", "L1"}, id="organs-and-ribs-are-left-out"),
        pytest.param((23, 22, 18), "totalsegmentator_v1", {"T12", "L1", "L5"}, id="first-version-by-name"),
        pytest.param((5, 203, 1), "spider", {"L1", "L5"}, id="spider-by-name"),
    ],
)
def test_numbers_are_named_by_the_scheme_that_numbers_and_heights_agree_on(
    numbers: tuple[int, ...], scheme: str | None, names: set[str], tmp_path: Path
) -> None:
    found = landmarks_from_labels(stack(tmp_path, *numbers), tmp_path / "a.fcsv", order="vertebra", scheme=scheme)
    assert set(found.names) == names
    heights = dict(zip(found.names, found.points_mm[:, 2], strict=True))
    top = max(names, key=lambda name: ("CTLS".index(name[0]), int(name[1:])))
    assert heights[top] == min(heights.values())


def test_a_scheme_that_could_be_two_or_none_is_asked_for(tmp_path: Path, label_path: Path) -> None:
    with pytest.raises(
        LandmarkError, match=r"label 28 may be T13 \(verse\) or L4 \(totalsegmentator\); name the scheme"
    ):
        landmarks_from_labels(stack(tmp_path, 28), tmp_path / "a.fcsv", order="vertebra")
    assert landmarks_from_labels(stack(tmp_path, 26), tmp_path / "a.fcsv", order="vertebra").names == ("S1",)
    with pytest.raises(LandmarkError, match=r"scheme verse 21 \(L2\) should lie above 22 \(L3\), but lies below it"):
        landmarks_from_labels(label_path, tmp_path / "b.fcsv", order="vertebra")
    with pytest.raises(LandmarkError, match=r"in the scheme verse 31 is no vertebra"):
        landmarks_from_labels(stack(tmp_path, 31, 27), tmp_path / "b.fcsv", order="vertebra", scheme="verse")
    with pytest.raises(LandmarkError, match=r"20 \(L1\) and 21 \(L2\) lie 200 mm apart, which is not 1 level;"):
        landmarks_from_labels(stack(tmp_path, 20, 21, gap_mm=200), tmp_path / "b.fcsv", order="vertebra")
    with pytest.raises(LandmarkError, match=r"Expected a scheme out of verse, totalsegmentator, .*, got nifti"):
        landmarks_from_labels(label_path, tmp_path / "b.fcsv", order="vertebra", scheme="nifti")
    with pytest.raises(LandmarkError, match="got verse for the order top_down; use the order vertebra"):
        landmarks_from_labels(label_path, tmp_path / "b.fcsv", scheme="verse")
    assert not (tmp_path / "b.fcsv").exists()


@pytest.mark.assets
def test_a_totalsegmentator_volume_is_named_as_its_makers_mean_it(assets: Path, tmp_path: Path) -> None:
    folder = assets / "data/ct_spine"
    lumbar = landmarks_from_labels(
        folder / "totalseg_lumbar_3mm/totalseg.nii.gz", tmp_path / "a.mrk.json", order="vertebra"
    )
    assert lumbar.names == ("S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11")
    assert (np.diff(lumbar.points_mm[:, 2]) > 0).all()
    organs = folder / "totalseg_small_3mm/example_seg.nii.gz"
    assert landmarks_from_labels(organs, tmp_path / "b.fcsv", order="vertebra").names == ("L2", "L1", "T12", "T11")
    instances = assets / "data/mr_spine/fastcleverseg_lumbar_1mm/VB1_AKs6_T1_vertebrae.nii.gz"
    with pytest.raises(LandmarkError, match=r"1 \(C1\) should lie above 2 \(C2\), but lies below it"):
        landmarks_from_labels(instances, tmp_path / "c.fcsv", order="vertebra")


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
    with pytest.raises(LandmarkError, match=r"labels 100, but in the scheme verse 100 is no vertebra"):
        landmarks_from_labels(tmp_path / "many.nii.gz", out, order="vertebra")
    assert not out.exists()


def test_numbers_that_a_program_rounded_are_whole_and_an_empty_volume_is_named(tmp_path: Path) -> None:
    label = torch.zeros(1, 6, 6, 12)
    label[0, 1:3, 1:3, 0:2], label[0, 2:4, 2:4, 5:7] = 2.9999998, 20.0004
    write_volume(MetaTensor(label), tmp_path / "label.nii.gz")
    points = landmarks_from_labels(tmp_path / "label.nii.gz", tmp_path / "out.fcsv", order="number")
    assert points.names == ("3", "20")
    np.testing.assert_allclose(points.points_mm, [[1.5, 1.5, 0.5], [2.5, 2.5, 5.5]])
    write_volume(MetaTensor(torch.zeros_like(label)), tmp_path / "label.nii.gz")
    with pytest.raises(LandmarkError, match=r"label.nii.gz holds no label \(0 everywhere\)"):
        landmarks_from_labels(tmp_path / "label.nii.gz", tmp_path / "out.fcsv")
