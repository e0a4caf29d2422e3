"""Scores of shifted cubes that can be worked out by hand, and what must hold for any two masks."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage

from spinefuse_ext.metrics import SEGMENTATION_SCORES, false_volumes_ml, segmentation_table
from spinefuse_ext.validation import GridMismatchError, UnknownLabelError

SPACING_MM = (1.0, 2.0, 3.0)
SHAPE = (14, 13, 12)
CUBE = {1: "cube"}


def volume(mask: torch.Tensor, spacing_mm: tuple[float, ...] = SPACING_MM) -> MetaTensor:
    return MetaTensor(mask.float()[None], affine=torch.diag(torch.tensor([*spacing_mm, 1.0])))


def cube(start: tuple[int, ...], size: int = 5, shape: tuple[int, ...] = SHAPE) -> MetaTensor:
    mask = torch.zeros(shape)
    mask[tuple(slice(low, low + size) for low in start)] = 1
    return volume(mask)


def scores(prediction: MetaTensor, label: MetaTensor, tolerance_mm: float = 1.0) -> dict[str, float]:
    return segmentation_table(prediction, label, CUBE, tolerance_mm=tolerance_mm)["cube"]


@pytest.mark.parametrize(
    ("start", "hd95_mm", "asd_mm"),
    [
        # of 98 surface voxels 25 on the leading face leave the other surface by one step; the 9 inside the trailing
        # face are as far from the nearest face of the other cube, which may be one across another axis
        pytest.param((5, 4, 3), 1.0, (25 * 1 + 9 * 1) / 98, id="1mm"),
        pytest.param((4, 5, 3), 2.0, (25 * 2 + 6 * 1 + 3 * 2) / 98, id="2mm"),
        pytest.param((4, 4, 4), 3.0, (25 * 3 + 6 * 1 + 2 * 2 + 1 * 2) / 98, id="3mm"),
    ],
)
def test_cubes_shifted_by_one_voxel_of_another_size_along_each_axis(
    start: tuple[int, ...], hd95_mm: float, asd_mm: float
) -> None:
    found = scores(cube(start), cube((4, 4, 3)))
    assert found["dice"] == pytest.approx(0.8)
    assert found["jaccard"] == pytest.approx(2 / 3)
    assert found["hd95_mm"] == pytest.approx(hd95_mm)
    assert found["asd_mm"] == pytest.approx(asd_mm)
    assert found["surface_dice"] < 1 or hd95_mm == 1  # the default tolerance is 1 mm
    assert scores(cube(start), cube((4, 4, 3)), tolerance_mm=3)["surface_dice"] == 1


def test_surface_dice_is_a_share_of_area_in_square_millimetres() -> None:
    """A block of 30 x 30 x 18 mm at the end of one of 30 x 30 x 48 mm: what is more than 1 mm off the other surface."""
    short, long = torch.zeros(40, 40, 24), torch.zeros(40, 40, 24)
    short[5:35, 5:20, 4:10] = 1
    long[5:35, 5:20, 4:20] = 1
    found = scores(volume(long), volume(short))
    end, sides = 30 * 30, 2 * (30 + 30)  # mm2, and mm2 for each mm of length
    off = end + (30 - 1) * sides + (30 - 2) ** 2  # of the long one its far end and sides, of the short one its end
    assert found["surface_dice"] == pytest.approx(1 - off / (4 * end + (18 + 48) * sides), abs=0.01)
    assert 20 < found["hd95_mm"] <= 30


def test_identical_volumes_score_best_even_where_the_field_of_view_ends() -> None:
    for mask in (cube((4, 4, 3)), cube((0, 0, 0)), volume(torch.ones(SHAPE)), cube((3, 3, 3), 1)):
        assert scores(mask, mask) == dict(zip(SEGMENTATION_SCORES, (1, 1, 0, 0, 1), strict=True))


def test_a_structure_in_neither_volume_is_not_counted() -> None:
    found = segmentation_table(cube((4, 4, 3)), cube((4, 4, 3)), {0: "background", 1: "cube", 2: "none"})
    assert list(found) == ["cube", "none"]
    assert all(math.isnan(found["none"][score]) for score in SEGMENTATION_SCORES)


def test_a_structure_that_was_missed_scores_the_worst_there_is() -> None:
    found = scores(volume(torch.zeros(SHAPE)), cube((4, 4, 3)))
    diagonal = math.sqrt((14 * 1) ** 2 + (13 * 2) ** 2 + (12 * 3) ** 2)
    assert found == pytest.approx(dict(zip(SEGMENTATION_SCORES, (0, 0, diagonal, diagonal, 0), strict=True)))
    far = scores(cube((0, 0, 0), 1), cube((13, 12, 11), 1))  # opposite corners: the worst that can be found
    assert far["hd95_mm"] < diagonal


def test_a_structure_that_the_truth_lacks_has_no_score_and_a_false_volume() -> None:
    """As MONAI's metrics have it (``ignore_empty``): nothing was missed where nothing is."""
    truth, invented = volume(torch.zeros(SHAPE)), cube((4, 4, 3))
    assert all(math.isnan(value) for value in scores(invented, truth).values())
    labels = {0: "background", 1: "cube", 2: "none"}
    assert false_volumes_ml(invented, truth, labels) == pytest.approx({"cube": 5**3 * 1 * 2 * 3 / 1000, "none": 0})
    assert false_volumes_ml(truth, invented, labels) == {"none": 0}


def test_a_single_slice_is_an_outline_and_the_same_as_a_picture() -> None:
    single = [cube(start, shape=(14, 13, 1)) for start in ((4, 4, 0), (5, 4, 0))]
    pictures = [MetaTensor(one[..., 0], affine=one.affine) for one in single]
    found = scores(*single)
    assert found == scores(*pictures)
    assert found["asd_mm"] == pytest.approx((5 + 3) / 16)  # of 16 outline pixels 5 lead by 1 mm, 3 trail inside
    assert found["hd95_mm"] == 1


masks = st.builds(
    lambda seed, share: ndimage.gaussian_filter(np.random.default_rng(seed).random((9, 8, 7)), 1) > share,
    st.integers(0, 10_000),
    st.floats(0.4, 0.55),
)
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 1.5, 4.0])] * 3)


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask ^ ndimage.binary_erosion(mask)


def _distances(one: np.ndarray, other: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """From each surface voxel of ``one`` to the surface of ``other``, over the whole volume."""
    return ndimage.distance_transform_edt(~_surface(other), sampling=spacing_mm)[_surface(one)]


@settings(deadline=None, max_examples=30)
@given(first=masks, second=masks, spacing_mm=spacings)
def test_distances_are_those_of_the_whole_volume_and_scores_are_symmetric(
    first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, float, float]
) -> None:
    if not (first.any() and second.any()):
        return
    pair = [volume(torch.from_numpy(mask), spacing_mm) for mask in (first, second)]
    found = scores(*pair)
    there, back = _distances(first, second, spacing_mm), _distances(second, first, spacing_mm)
    assert found["hd95_mm"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)
    assert found["asd_mm"] == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-5, abs=1e-6)
    assert scores(*pair[::-1]) == pytest.approx(found, rel=1e-5, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(first=masks, second=masks, move=st.tuples(*[st.integers(0, 4)] * 3), spacing_mm=spacings)
def test_scores_do_not_depend_on_where_in_the_volume_things_are(
    first: np.ndarray, second: np.ndarray, move: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    if not (first.any() and second.any()):
        return
    placed, moved = (
        [volume(torch.from_numpy(np.pad(mask, pad)), spacing_mm) for mask in (first, second)]
        for pad in ([(0, 4)] * 3, [(step, 4 - step) for step in move])
    )
    assert scores(*moved) == pytest.approx(scores(*placed), rel=1e-5, abs=1e-6)


def test_voxels_twice_as_large_double_the_distances_only() -> None:
    first, second = cube((4, 4, 3)), cube((5, 5, 5))
    twice = [volume(mask[0], tuple(2 * mm for mm in SPACING_MM)) for mask in (first, second)]
    small, large = scores(first, second, tolerance_mm=1), scores(*twice, tolerance_mm=2)
    assert large == pytest.approx({**small, "hd95_mm": 2 * small["hd95_mm"], "asd_mm": 2 * small["asd_mm"]})


def test_files_with_an_oblique_grid_are_scored_in_their_own_millimetres(tmp_path: Path) -> None:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(SPACING_MM), (3, -40, 7)
    pair = [cube((5, 4, 3)), cube((4, 4, 3))]
    for mask, name in zip(pair, ("prediction", "label"), strict=True):
        nib.save(nib.Nifti1Image(mask[0].numpy().astype(np.uint8), affine), tmp_path / f"{name}.nii.gz")
    found = segmentation_table(tmp_path / "prediction.nii.gz", tmp_path / "label.nii.gz", CUBE)["cube"]
    assert found == pytest.approx(scores(*pair), rel=1e-5)


def test_what_cannot_be_compared_is_refused() -> None:
    label = cube((4, 4, 3))
    with pytest.raises(GridMismatchError, match="affines that differ by up to 3 mm"):
        scores(volume(label[0], (1.0, 2.0, 6.0)), label)
    with pytest.raises(UnknownLabelError, match="got 4 as well in prediction"):
        scores(label * 4, label)
    with pytest.raises(ValueError, match="tolerance_mm is a number of at least 0, got -1"):
        scores(label, label, tolerance_mm=-1)
