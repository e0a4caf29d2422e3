"""How a network sees a whole volume: slice by slice in 2-D, through a sliding window in 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer

from spinefuse_ext.validation import check_spatial_dims


def window_inferer(spatial_dims: int, roi_size: Sequence[int], slice_axis: int, **options: Any) -> Inferer:
    """Return MONAI's inferer for volumes ``(B, C, X, Y, Z)``.

    A 2-D network sees one slice across ``slice_axis`` after the other; a slice smaller than ``roi_size`` (pixels) is
    padded around its centre and cut back, a larger one is covered by overlapping windows. A 3-D network sees windows
    of ``roi_size`` voxels. Memory is bounded by ``sw_batch_size`` windows and the result.

    Args:
        spatial_dims: 2 or 3, the network's.
        roi_size: ``spatial_dims`` numbers.
        slice_axis: 0 sagittal, 1 coronal, 2 axial for volumes in RAS; used in 2-D only.
        options: of MONAI's ``SlidingWindowInferer``, such as ``sw_batch_size`` and ``overlap``.
    """
    check_spatial_dims(spatial_dims)
    if spatial_dims == 2:
        return SliceInferer(spatial_dim=slice_axis, roi_size=tuple(roi_size), **options)
    return SlidingWindowInferer(roi_size=tuple(roi_size), **options)
