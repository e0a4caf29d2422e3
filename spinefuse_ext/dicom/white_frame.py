"""A bright frame that some program drew around an image: found, named, and taken away where it is certain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_DEEPEST = 3  # voxels that a frame may be wide
_BRIGHT = 0.5  # of the range of values: how much a plane must exceed the one inside it
_LEAST = 4  # voxels along an axis below which a side cannot be told from the image
_SIDES = {1: "low", -1: "high"}


class Side(NamedTuple):
    """One side of the volume: the axis, whether its first (1) or last (-1) planes, how many, and their value."""

    axis: int
    step: int
    width: int
    value: float


def without_frame(voxels: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
    """Return the image ``(X, Y, Z)`` without a bright frame, and what was found, one sentence per kind.

    A side of a frame is up to 3 outermost planes of one and the same value, far brighter than the plane inside. Where
    that value is the largest of the image, a program drew it there: the planes get the values of the plane inside.
    Any other is named and kept.
    """
    sides = [side for axis in range(3) for step in _SIDES if (side := _side(voxels, axis, step)) is not None]
    if not sides:
        return voxels, []
    largest = float(voxels.max())
    drawn = [side for side in sides if side.value == largest]
    others = [side for side in sides if side.value != largest]
    found = []
    if drawn:
        voxels = voxels.copy()
        for side in drawn:
            planes = np.moveaxis(voxels, side.axis, 0)[:: side.step]
            planes[: side.width] = planes[side.width]
        found.append(f"a white frame ({_listed(drawn)}) was replaced by the voxels beside it")
    if others:
        found.append(f"a bright frame ({_listed(others)}) was kept, because it may belong to the image; crop it if not")
    return voxels, found


def _side(voxels: NDArray[np.float32], axis: int, step: int) -> Side | None:
    if voxels.shape[axis] < _LEAST:
        return None
    planes = np.moveaxis(voxels, axis, 0)[::step]
    value = float(planes[0].flat[0])
    width = 0
    while width <= _DEEPEST and width < len(planes) - 1 and (planes[width] == value).all():
        width += 1
    if not 1 <= width <= _DEEPEST:
        return None
    span = float(voxels.max()) - float(voxels.min())
    inside = planes[width][planes[width] != value]  # without the sides of the frame that cross it
    if value - float(np.median(inside)) <= _BRIGHT * span:
        return None
    return Side(axis, step, width, value)


def _listed(sides: list[Side]) -> str:
    """``axis 0 high, axis 1 high: 1 voxel of 255``."""
    names = ", ".join(f"axis {side.axis} {_SIDES[side.step]}" for side in sides)
    width = max(side.width for side in sides)
    return f"{names}: {width} voxel{'s' if width > 1 else ''} of {max(side.value for side in sides):g}"
