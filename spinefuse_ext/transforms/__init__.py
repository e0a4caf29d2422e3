"""Transforms that MONAI lacks."""

from spinefuse_ext.transforms.slices import slice_shape

__all__ = ["slice_shape"]
