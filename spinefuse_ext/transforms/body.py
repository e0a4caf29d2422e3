"""Where the body is in an image without a fixed unit, whatever surrounds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AIR, _TOP = 0.01, 0.999  # quantiles
_STEP = 0.25  # of the way from air to the median of what is brighter than the threshold
_AXES = 2  # along which a dark voxel must lie between bright ones


def body_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the body is in ``image`` ``(*S)``; nowhere in a constant one.

    *Bright* is what exceeds ``body_threshold``. The body is all that is bright, and all that lies between two bright
    voxels along at least two axes, so that dark bone, fluid and gas inside belong to it. What surrounds the body (how
    much of it, and whether zeros, the lowest value or noise of a scanner) does not change it.
    """
    bright = image > body_threshold(image)
    axes = [axis for axis, size in enumerate(image.shape) if size > 1]
    between = sum(_between(bright, axis).astype(np.uint8) for axis in axes)
    return bright | (np.asarray(between) >= _AXES)


def body_threshold(image: NDArray[np.float32]) -> float:
    """Return the value above which a voxel of ``image`` ``(*S)`` is no air.

    Voxels that are 0, the lowest value or not finite do not count: they are padding. Of the others, *air* is the 1st
    percentile. The threshold begins half-way from air to the 99.9th percentile, and comes down to a quarter of the way
    from air to the median of what is above it, again and again until it would come down no further. An image that has
    one value besides the padding has its threshold right below that value, a constant one at it.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return float("inf")
    values = np.sort(finite[(finite != 0) & (finite != finite.min())])
    if not values.size or values[0] == values[-1]:
        return float(np.nextafter(values[0], -np.inf)) if values.size else float(finite.max())
    last = len(values) - 1
    air = float(values[round(_AIR * last)])
    threshold = (air + float(values[round(_TOP * last)])) / 2
    while True:
        first = min(int(np.searchsorted(values, threshold, side="right")), last)
        lower = air + _STEP * (float(values[(first + last + 1) // 2]) - air)
        if lower >= threshold:
            return threshold
        threshold = lower


def _between(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """From the first to the last voxel of ``mask`` along ``axis``."""
    after = np.maximum.accumulate(mask, axis=axis)
    return after & np.flip(np.maximum.accumulate(np.flip(mask, axis), axis=axis), axis)
