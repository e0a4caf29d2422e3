"""Shapes of the slices that a 2-D network takes from volumes."""

from __future__ import annotations

from collections.abc import Sequence

from spinefuse_ext.validation import ConfigError, check_spatial_dims


def slice_shape(shape: Sequence[int], spatial_dims: int, slice_axis: int) -> tuple[int, int, int]:
    """Return the 3-D voxel shape of a crop: ``shape`` as given in 3-D, one voxel thick along ``slice_axis`` in 2-D.

    Raises:
        ConfigError: ``shape`` has not ``spatial_dims`` numbers, or ``slice_axis`` is not 0, 1 or 2.
    """
    check_spatial_dims(spatial_dims)
    if len(shape) != spatial_dims:
        raise ConfigError(f"Expected {spatial_dims} numbers for a {spatial_dims}-D crop or canvas, got {list(shape)}.")
    if slice_axis not in (0, 1, 2):
        raise ConfigError(f"slice_axis must be 0 (sagittal), 1 (coronal) or 2 (axial), got {slice_axis}.")
    sizes = [int(size) for size in shape]
    if spatial_dims == 2:
        sizes.insert(slice_axis, 1)
    return (sizes[0], sizes[1], sizes[2])
