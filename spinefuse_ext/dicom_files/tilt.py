"""A stack of slices that a tilted gantry or table sheared, set upright."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMALLEST_DRIFT = 0.05  # pixels over the whole stack; what is below is rounding in the headers


class Upright(NamedTuple):
    """The right-angled grid that holds a sheared stack: where slice ``n`` lies ``n * drift - low`` pixels off in it."""

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    drift: NDArray[np.float64]
    low: NDArray[np.int_]


def upright_grid(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Upright:
    """Return the right-angled grid for slices of a stack ``(X, Y, Z)``; its drift is zero where they need no shift."""
    in_plane, step = affine[:3, :2], affine[:3, 2]
    drift = np.asarray(np.linalg.lstsq(in_plane, step, rcond=None)[0], np.float64)  # pixels from one slice to the next
    straight = affine.copy()
    straight[:3, 2] = step - in_plane @ drift
    total = drift * (shape[2] - 1)
    if np.abs(total).max() <= _SMALLEST_DRIFT:
        return Upright(straight, shape, np.zeros(2), np.zeros(2, int))
    low, high = np.floor(np.minimum(total, 0)).astype(int), np.ceil(np.maximum(total, 0)).astype(int)
    straight[:3, 3] += in_plane @ low
    width, height = (int(size) for size in shape[:2] + high - low)
    return Upright(straight, (width, height, shape[2]), drift, low)


def set_upright(
    voxels: NDArray[np.float32], affine: NDArray[np.float64], outside: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Return the voxels ``(X, Y, Z)``, an affine ``(4, 4)`` with a right-angled last axis, and the tilt in degrees.

    The shear is known from the affine: every slice moves within its own plane by its own distance, interpolated
    linearly there and not across slices, onto a canvas that holds all of them; ``outside`` fills the rest.
    """
    width, height, depth = voxels.shape
    grid = upright_grid(affine, (width, height, depth))
    if not grid.drift.any():
        return voxels, grid.affine, 0.0
    margin = [(0, grid.shape[axis] - voxels.shape[axis]) for axis in range(3)]
    canvas = np.pad(voxels, margin, constant_values=outside)
    for place in range(depth):
        canvas[..., place] = ndimage.shift(canvas[..., place], place * grid.drift - grid.low, order=1, cval=outside)
    shear = np.linalg.norm(affine[:3, :2] @ grid.drift)
    tilt = np.degrees(np.arctan2(shear, np.linalg.norm(grid.affine[:3, 2])))
    return canvas, grid.affine, float(tilt)
