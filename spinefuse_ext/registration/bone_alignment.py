"""The rigid motion that lays the surface of one bone in the CT on that of the same bone in the MR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration.bone_surface import BoneSurface

Array = NDArray[np.float64]

#: Distances from which a point counts as belonging to nothing in the other scan, mm: first wide, then narrow.
_WIDTHS_MM = (6.0, 6.0, 4.0, 4.0, 2.5, 2.5, 1.5, 1.5)
_LAST_MM, _MOST_STEPS = 1.0, 30
_STILL_MM = 1e-3
_RADIUS_MM = 20.0  # makes a turn as long as a shift
_FEWEST = 30
_THICKEST_MM = 2.5
_RIDGE = 1e-2  # squared mm: holds what the seen part of a bone leaves open


@dataclass(frozen=True)
class Alignment:
    """``matrix`` ``(4, 4)`` RAS, CT -> MR; ``residual_mm``: what remains between both surfaces, median of its size.

    ``agreement`` (0 to 1) is the mean of 1 / (1 + d^2) over all points that lie in both fields, d mm from the other
    surface; ``used``: the share of them nearer than 2 mm; ``thicker_mm``: how much farther out the MR's label ends,
    which moves nothing. ``points``: how many lie in both fields.
    """

    matrix: Array
    residual_mm: float
    agreement: float
    used: float
    thicker_mm: float
    points: int


def align(
    fixed: BoneSurface,
    moving: BoneSurface,
    start: Array,
    *,
    weights: tuple[Array, Array] | None = None,
    near: bool = False,
) -> Alignment | None:
    """Return the rigid motion of a bone from ``start`` ``(4, 4)``, CT -> MR in RAS mm, or None if too little overlaps.

    Points of each surface are brought to the nearest place on the other (both ways, so that neither hides what the
    other lacks), by Gauss-Newton steps with Geman and McClure's weights, whose width narrows to 1 mm. One number more
    is how much farther out one label ends than the other. ``weights`` of the points of both replace ones; ``near``: the
    start is nearly right, so that the narrow width alone is used.
    """
    given = weights or (np.ones(len(fixed.points)), np.ones(len(moving.points)))
    matrix, centre, thicker = start.copy(), fixed.centre_mm, 0.0
    wide = () if near else _WIDTHS_MM
    for place, width in enumerate([*wide, *[_LAST_MM] * _MOST_STEPS]):
        away, slopes, known = _both_ways(fixed, moving, matrix, centre)
        count = np.concatenate(given)[known]
        if count.sum() < _FEWEST:
            return None
        off = away - thicker * slopes[:, 6]
        trust = count * (1 + (off / width) ** 2) ** -2
        weighted = slopes * trust[:, None]
        step = np.linalg.solve(weighted.T @ slopes + _RIDGE * np.eye(7), -weighted.T @ off)
        matrix = _moved(matrix, centre, step)
        thicker = float(np.clip(thicker - step[6], -_THICKEST_MM, _THICKEST_MM))
        if place >= len(wide) and np.abs(step).max() < _STILL_MM:
            break
    off = np.abs(away - thicker * slopes[:, 6])
    agreement, used = (1 / (1 + off**2)).mean(), (off < 2 * _LAST_MM).mean()
    return Alignment(matrix, float(np.median(off)), float(agreement), float(used), thicker, len(off))


def _both_ways(
    fixed: BoneSurface, moving: BoneSurface, matrix: Array, centre: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Distances of both surfaces' points, how six numbers and the thickness change them, and which are known."""
    turn, pivot = matrix[:3, :3], matrix[:3, :3] @ centre + matrix[:3, 3]
    there = fixed.points @ turn.T + matrix[:3, 3]
    forth, forth_slopes = moving.distance(there)
    back_points = (moving.points - matrix[:3, 3]) @ turn
    back, back_slopes = fixed.distance(back_points)
    normals = np.concatenate([forth_slopes, -(back_slopes @ turn.T)])
    arms = np.concatenate([there, moving.points]) - pivot
    sides = np.concatenate([-np.ones(len(forth)), np.ones(len(back))])
    slopes = np.concatenate([np.cross(arms, normals) / _RADIUS_MM, normals, sides[:, None]], axis=1)
    away = np.concatenate([forth, back])
    known = np.isfinite(away) & np.isfinite(slopes).all(axis=1)
    return away[known], slopes[known], known


def _moved(matrix: Array, centre: Array, step: Array) -> Array:
    """The motion after a small turn (times the radius) and shift about where it brings the centre."""
    pivot = matrix[:3, :3] @ centre + matrix[:3, 3]
    small = Rotation.from_rotvec(step[:3] / _RADIUS_MM).as_matrix()
    after = np.eye(4)
    after[:3, :3], after[:3, 3] = small, pivot + step[3:6] - small @ pivot
    return np.asarray(after @ matrix)
