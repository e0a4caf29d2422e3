from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Orientation

from spinefuse_ext.report.views import as_volume, as_volumes, informative_slices, percentile_limits

SHAPE = (5, 6, 7)


def _end_of(axis_signs: tuple[int, int, int]) -> np.ndarray:
    """A volume with one bright voxel at an end: +1 the positive (right, anterior, superior) end, -1 the other."""
    image = np.zeros(SHAPE)
    image[tuple(-1 if sign > 0 else 0 for sign in axis_signs)] = 1
    return image


@pytest.mark.parametrize(
    ("axis", "index", "end"),
    [
        pytest.param(0, 0, (-1, 1, 1), id="sagittal-anterior-superior"),
        pytest.param(1, 0, (1, -1, 1), id="coronal-right-superior"),
        pytest.param(2, 0, (1, 1, -1), id="axial-right-anterior"),
    ],
)
def test_upper_left_corner_of_picture(axis: int, index: int, end: tuple[int, int, int]) -> None:
    picture = as_volume(_end_of(end)).picture(axis, index)
    assert np.argwhere(picture).tolist() == [[0, 0]]


@pytest.mark.parametrize("axcodes", ["LPS", "PIR", "SRA"])
def test_stored_orientation_does_not_change_the_picture(axcodes: str, rng: np.random.Generator) -> None:
    image = MetaTensor(torch.as_tensor(rng.random((1, *SHAPE))), affine=torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0])))
    stored = Orientation(axcodes=axcodes, labels=(("L", "R"), ("P", "A"), ("I", "S")))(image)
    np.testing.assert_array_equal(as_volume(stored).picture(1, 2), as_volume(image).picture(1, 2))
    assert as_volume(stored).size_mm(0) == pytest.approx((12, 21))  # 6 x 2 mm wide, 7 x 3 mm high


def test_slice_place_is_told_in_patient_space() -> None:
    affine = torch.tensor([[2.0, 0, 0, -30], [0, 1, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]])
    volume = as_volume(MetaTensor(torch.zeros(1, *SHAPE), affine=affine))
    assert volume.position(0, 3) == "sagittal, 24 mm L"  # -30 + 2 * 3
    assert volume.position(1, 3) == "coronal, 8 mm A"


def test_point_lands_on_the_pixel_of_its_voxel() -> None:
    affine = torch.tensor([[2.0, 0, 0, -3], [0, 3, 0, 5], [0, 0, 1, 7], [0, 0, 0, 1]])
    image = torch.zeros(1, *SHAPE)
    image[0, 1, 4, 2] = 1
    volume = as_volume(MetaTensor(image, affine=affine))
    row, column = np.argwhere(volume.picture(0, 1))[0]
    across, down, index = volume.picture_points(np.array([[-3 + 2.0, 5 + 12.0, 7 + 2.0]]), 0)[0]
    assert (across, down, index) == pytest.approx(((column + 0.5) * 3, (row + 0.5) * 1, 1))


def test_two_dimensional_image_is_one_axial_slice() -> None:
    assert as_volume(np.zeros((4, 5))).array.shape == (4, 5, 1)


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (1, 1, 4, 5, 6), (4,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected an image \(1, X, Y, Z\)"):
        as_volume(np.zeros(shape))


def test_images_of_two_grids_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"ct \(5, 6, 7\), mr \(5, 6, 8\)"):
        as_volumes(ct=np.zeros(SHAPE), mr=np.zeros((5, 6, 8)))


def test_middle_of_the_full_slices_is_chosen() -> None:
    mask = np.zeros((9, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[4:7] = mask[8, 0] = True  # 1, 16, 16, 16 and 4 voxels: only slices 4 to 6 count
    assert informative_slices(mask, 0) == [5]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 5))
def test_chosen_slices_hold_half_of_the_fullest(filled: list[int], count: int) -> None:
    mask = np.arange(9)[None, :, None] < np.asarray(filled)[:, None, None]
    chosen = informative_slices(mask, 0, count)
    assert 1 <= len(chosen) <= count
    assert chosen == sorted(set(chosen))
    assert all(2 * filled[index] >= max(filled) for index in chosen)


def test_grey_limits_ignore_the_padding_and_survive_constant_images() -> None:
    image = np.zeros((10, 10, 10))
    image[5:] = 7.0
    assert percentile_limits(as_volume(image)) == (6.5, 7.5)
    assert percentile_limits(as_volume(np.zeros(SHAPE))) == (0.0, 1.0)
