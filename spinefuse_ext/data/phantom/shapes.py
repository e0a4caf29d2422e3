"""Signed distances in mm (negative inside) of simple solids, arrays of any one shape in, the same shape out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Point = tuple[float, float, float]


def smooth_min(first: Array, second: Array, blend_mm: float) -> Array:
    """Union of two solids with a fillet of about ``blend_mm`` between them (polynomial smooth minimum)."""
    overlap = np.maximum(blend_mm - np.abs(first - second), 0.0) / blend_mm
    return np.minimum(first, second) - overlap * overlap * (blend_mm / 4)


def smooth_max(first: Array, second: Array, blend_mm: float) -> Array:
    """Intersection of two solids with an edge rounded by about ``blend_mm``."""
    return -smooth_min(-first, -second, blend_mm)


def superellipse(x: Array, y: Array, half: tuple[Any, Any], power: float = 2.4) -> Array:
    """Radial distance to ``|x/a|^p + |y/b|^p = 1``; the half axes may vary from point to point."""
    radius = np.sqrt(x * x + y * y) + 1e-3
    level = (np.abs(x / half[0]) ** power + np.abs(y / half[1]) ** power) ** (1 / power) + 1e-6
    return radius * (1 - 1 / level)


def ellipse(x: Array, y: Array, half: tuple[Any, Any]) -> Array:
    """First-order distance to an ellipse in the plane, without a power: ``(r - 1) r / |grad|``."""
    level = np.hypot(x / half[0], y / half[1])
    return level * (level - 1) / (np.hypot(x / half[0] ** 2, y / half[1] ** 2) + 1e-6)


def ellipsoid(offset: tuple[Array, Array, Array], half: Point) -> Array:
    """First-order distance to an ellipsoid; ``offset`` are the coordinates from its centre."""
    level = np.sqrt(sum((axis / size) ** 2 for axis, size in zip(offset, half, strict=True)))
    slope = np.sqrt(sum((axis / size**2) ** 2 for axis, size in zip(offset, half, strict=True)))
    return level * (level - 1) / (slope + 1e-6)


def capsule(
    where: tuple[Array, Array, Array],
    start: Point,
    end: Point,
    *,
    radius: tuple[float, float],
    stretch: Point = (1.0, 1.0, 1.0),
) -> Array:
    """A rod from ``start`` to ``end`` whose radius runs linearly; ``stretch`` makes its section oval along an axis."""
    axis = [(b - a) / s for a, b, s in zip(start, end, stretch, strict=True)]
    offset = [(w - a) / s for w, a, s in zip(where, start, stretch, strict=True)]
    length = sum(component * component for component in axis)
    along = np.clip(sum(o * d for o, d in zip(offset, axis, strict=True)) / length, 0, 1)
    squared = sum((o - along * d) ** 2 for o, d in zip(offset, axis, strict=True))
    distance: Array = np.sqrt(squared) - (radius[0] + along * (radius[1] - radius[0]))
    return distance


def rounded_box(offset: tuple[Array, Array, Array], half: Point, rounding_mm: float) -> Array:
    """A box of half sizes ``half`` about the origin with rounded edges; ``offset`` are coordinates from its centre."""
    away = [np.abs(axis) - (size - rounding_mm) for axis, size in zip(offset, half, strict=True)]
    outside = np.sqrt(sum(np.maximum(axis, 0) ** 2 for axis in away))
    inside = np.minimum(np.maximum(np.maximum(away[0], away[1]), away[2]), 0)
    distance: Array = outside + inside - rounding_mm
    return distance


def coverage(distance: Array, width_mm: float) -> Array:
    """Share of a voxel of ``width_mm`` that a solid fills, 0 to 1, from the distance of the voxel's centre."""
    return np.clip(0.5 - distance / width_mm, 0, 1)
