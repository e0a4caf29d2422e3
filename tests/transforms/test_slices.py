from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.transforms import scaled_sizes, slice_shape
from spinefuse_ext.validation import ConfigError

sizes = st.integers(1, 512)


@given(height=sizes, width=sizes, axis=st.integers(0, 2))
def test_a_2d_crop_is_one_voxel_thick_along_its_axis_and_keeps_its_order(height: int, width: int, axis: int) -> None:
    shape = list(slice_shape([height, width], 2, axis))
    assert shape.pop(axis) == 1
    assert shape == [height, width]


@given(shape=st.tuples(sizes, sizes, sizes), axis=st.integers(0, 2))
def test_a_3d_crop_is_taken_as_given(shape: tuple[int, int, int], axis: int) -> None:
    assert slice_shape(shape, 3, axis) == shape


@pytest.mark.parametrize(
    ("shape", "spatial_dims", "axis", "message"),
    [
        ([64], 2, 0, r"Expected 2 numbers for a 2-D crop or canvas, got \[64\]"),
        ([64, 64], 3, 0, r"Expected 3 numbers for a 3-D crop or canvas, got \[64, 64\]"),
        ([64, 64], 2, 3, r"slice_axis must be 0 \(sagittal\), 1 \(coronal\) or 2 \(axial\), got 3"),
        ([64, 64], 2, -1, "got -1"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape: list[int], spatial_dims: int, axis: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        slice_shape(shape, spatial_dims, axis)


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected spatial_dims 2 or 3, got 4"):
        slice_shape([1, 1, 1, 1], 4, 0)


def test_scaled_sizes_are_whole_and_ascending() -> None:
    assert scaled_sizes([64, 50], [1.0, 0.25, 1.5]) == [(16, 12), (64, 50), (96, 75)]
    assert scaled_sizes((5, 6, 7), [1]) == [(5, 6, 7)]


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([], r"list of numbers above 0, such as \[0.5, 1.0\], got \[\]"),
        ([1.0, 0], r"got \[1.0, 0\]"),
        (["1"], r"got \['1'\]"),
        (0.5, "got 0.5"),
        ([0.01], r"Scale 0.01 of a crop of \[32, 8\] voxels leaves less than one voxel"),
    ],
)
def test_scales_that_give_no_size_are_refused(scales: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scaled_sizes([32, 8], scales)
