"""A stack of slices that a tilted gantry or table sheared, set upright."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMALLEST_DRIFT = 0.05  # pixels over the whole stack; what is below is rounding in the headers


def set_upright(
    voxels: NDArray[np.float32], affine: NDArray[np.float64], outside: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Return the voxels ``(X, Y, Z)``, an affine ``(4, 4)`` with a right-angled last axis, and the tilt in degrees.

    The shear is known from the affine: every slice moves within its own plane by its own distance, interpolated
    linearly there and not across slices, onto a canvas that holds all of them; ``outside`` fills the rest.
    """
    in_plane, step = affine[:3, :2], affine[:3, 2]
    drift = np.linalg.lstsq(in_plane, step, rcond=None)[0]  # pixels from one slice to the next
    upright = step - in_plane @ drift
    straight = affine.copy()
    straight[:3, 2] = upright
    total = drift * (voxels.shape[2] - 1)
    if np.abs(total).max() <= _SMALLEST_DRIFT:
        return voxels, straight, 0.0
    low, high = np.floor(np.minimum(total, 0)).astype(int), np.ceil(np.maximum(total, 0)).astype(int)
    straight[:3, 3] += in_plane @ low
    margin = [(0, int(size)) for size in high - low]
    canvas = np.pad(voxels, [*margin, (0, 0)], constant_values=outside)
    for place in range(voxels.shape[2]):
        canvas[..., place] = ndimage.shift(canvas[..., place], place * drift - low, order=1, cval=outside)
    tilt = np.degrees(np.arctan2(np.linalg.norm(in_plane @ drift), np.linalg.norm(upright)))
    return canvas, straight, float(tilt)
