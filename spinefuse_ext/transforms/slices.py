"""Sizes of the crops, slices or blocks, that a network takes from volumes."""

from __future__ import annotations

from collections.abc import Sequence

from spinefuse_ext.validation import ConfigError, check_spatial_dims


def scaled_sizes(size: Sequence[int], scales: Sequence[float]) -> list[tuple[int, ...]]:
    """``size`` times each of ``scales``, in whole voxels, the smallest first.

    Raises:
        ConfigError: no scale, one that is not above 0, or one that leaves less than a voxel.
    """
    listed = list(scales) if isinstance(scales, Sequence) and not isinstance(scales, str) else []
    if not listed or not all(isinstance(scale, (int, float)) and scale > 0 for scale in listed):
        raise ConfigError(f"Scales of a crop are a list of numbers above 0, such as [0.5, 1.0], got {scales}.")
    sizes = [tuple(round(length * scale) for length in size) for scale in sorted(listed)]
    if min(sizes[0]) < 1:
        raise ConfigError(f"Scale {min(listed)} of a crop of {list(size)} voxels leaves less than one voxel.")
    return sizes


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
