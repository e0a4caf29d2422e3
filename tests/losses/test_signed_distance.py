from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefuse_ext.losses import signed_distance


def test_a_bar_in_a_row_of_voxels_by_hand() -> None:
    label = torch.tensor([0, 0, 0, 1, 1, 1, 0]).view(1, 1, 7, 1)
    expected = torch.tensor([1.0, 2 / 3, 1 / 3, 0, -1, 0, 1 / 3]).view(1, 1, 7, 1)
    torch.testing.assert_close(signed_distance(label, 2), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_each_case_and_class_has_a_map_of_its_own(dims: int) -> None:
    label = torch.zeros(2, 1, *[9] * dims)
    label[(0, 0, *[slice(2, 7)] * dims)] = 2
    label[(1, 0, *[4] * dims)] = 1
    maps = signed_distance(label, 4)
    assert maps.shape == (2, 3, *[9] * dims)
    assert maps.dtype == torch.float32
    assert maps[(0, 1, *[4] * dims)] == -1  # the middle of the box
    assert maps[(1, 0, *[4] * dims)] == 0  # a single voxel is its own boundary
    assert maps[(1, 0, *[0] * dims)] == 1  # the corner is farthest from it
    for case, absent in ((0, 0), (0, 2), (1, 1), (1, 2)):
        assert (maps[case, absent] == 1).all()


def test_a_crop_without_or_full_of_a_class_is_all_outside_or_all_inside() -> None:
    assert (signed_distance(torch.zeros(1, 1, 4, 4), 2) == 1).all()
    assert (signed_distance(torch.ones(1, 1, 4, 4), 2) == -1).all()


def test_an_unknown_value_is_background() -> None:
    label = torch.zeros(1, 1, 8, 8)
    label[..., 2:5, 2:5] = 1
    marked = label.clone()
    marked[..., 7, 7] = 255
    torch.testing.assert_close(signed_distance(marked, 2), signed_distance(label, 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_the_sign_says_which_side_a_voxel_is_on(seed: int, share: float) -> None:
    inside = np.random.default_rng(seed).random((2, 1, 7, 6)) < share
    maps = signed_distance(torch.from_numpy(inside).long(), 2).numpy()
    assert np.abs(maps).max() <= 1
    assert (maps[inside] <= 0).all()
    assert (maps[~inside] > 0).all()
    edge = np.pad(inside, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=True)
    neighbours = edge[..., :-2, 1:-1] & edge[..., 2:, 1:-1] & edge[..., 1:-1, :-2] & edge[..., 1:-1, 2:]
    several = inside & ~inside.all(axis=(2, 3), keepdims=True)
    assert ((maps == 0) == (several & ~neighbours)).all()
