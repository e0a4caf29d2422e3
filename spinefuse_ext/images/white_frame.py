"""A bright frame that some program drew around an image: found, named, and taken away where it is certain."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_DEEPEST = 3  # voxels that a frame may be wide
_BRIGHT = 0.5  # of the range of values: how much a plane must exceed the one inside it
_COMMON = 0.1  # part of the image that has the value of the frame too, from which it is no frame
_LEAST = 4  # voxels along an axis below which a side cannot be told from the image
_SIDES = {1: "low", -1: "high"}


class Side(NamedTuple):
    """One side of the volume: the axis, whether its first (1) or last (-1) planes, how many, and their value."""

    axis: int
    step: int
    width: int
    value: float


def without_frame(voxels: NDArray[np.float32], path: str | Path) -> tuple[NDArray[np.float32], list[str]]:
    """Return the image ``(X, Y, Z)`` of ``path`` without a bright frame, and a sentence per kind found; logged.

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
    found = [f"{path}: {sentence}" for sentence in found]
    for sentence in found:
        logger.warning("%s", sentence)
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
    if value - float(np.median(inside)) <= _BRIGHT * span or (_core(voxels) == value).mean() > _COMMON:
        return None
    return Side(axis, step, width, value)


def _core(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image without what a frame could cover, at least one plane of each axis."""
    cuts = [min(_DEEPEST, (size - 1) // 2) for size in voxels.shape]
    return voxels[tuple(slice(cut, size - cut) for cut, size in zip(cuts, voxels.shape, strict=True))]


def _listed(sides: list[Side]) -> str:
    """``axis 0 high, axis 1 high: 1 voxel of 255``."""
    names = ", ".join(f"axis {side.axis} {_SIDES[side.step]}" for side in sides)
    width = max(side.width for side in sides)
    return f"{names}: {width} voxel{'s' if width > 1 else ''} of {max(side.value for side in sides):g}"
