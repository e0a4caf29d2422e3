"""Voxels without a value (NaN, infinity): outside the field of view they get one, inside the image is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.validation import ImageReadError

logger = logging.getLogger(__name__)


def without_gaps(
    voxels: NDArray[np.float32], outside: float, path: str | Path
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the image ``(X, Y, Z)`` of ``path`` with ``outside`` for NaN and infinity around the scan, and say so.

    A field of view is convex, so that what it leaves out of any plane reaches an edge of that plane.

    Raises:
        ImageReadError: NaN or infinity anywhere else, in a whole plane between others, or in all voxels.
    """
    gaps = ~np.isfinite(voxels)
    count = int(gaps.sum())
    if not count:
        return voxels, []
    if count == gaps.size:
        raise ImageReadError(f"{path} holds no value at all (NaN in every voxel); export it again.")
    inside = _inside(gaps)
    if inside:
        voxels_named = f"{inside} voxel{'s' * (inside > 1)} without a value (NaN or infinity)"
        raise ImageReadError(
            f"{path} has {voxels_named} inside the image, not only around the field of view; export it again, or fill "
            "them in the program that made them."
        )
    sentence = f"{path}: {count} voxels without a value (NaN) around the field of view were set to {outside:g}"
    logger.warning("%s", sentence)
    return np.where(gaps, np.float32(outside), voxels), [sentence]


def named_gaps(voxels: NDArray[np.float32], path: str | Path) -> list[str]:
    """Return in one sentence that values are missing in a volume of any kind, which keeps them; logged."""
    count = voxels.size - int(np.isfinite(voxels).sum())
    if not count:
        return []
    sentence = f"{path}: {count} voxels are without a value (NaN or infinity) and were kept so"
    logger.warning("%s", sentence)
    return [sentence]


def _inside(gaps: NDArray[np.bool_]) -> int:
    """Count gaps that do not reach the edge of a plane of some direction, or fill a plane between others."""
    from scipy import ndimage  # most images need none of it, and not every machine has it

    inside = np.zeros_like(gaps)
    for axis in range(3):
        if min(np.delete(gaps.shape, axis)) < 3:
            continue  # a plane that is all edge
        neighbours = np.zeros((3, 3, 3), dtype=bool)
        neighbours[tuple(1 if each == axis else slice(None) for each in range(3))] = True
        regions, number = ndimage.label(gaps, structure=neighbours)  # planes apart from each other
        reaching = np.zeros(number + 1, dtype=bool)
        for other in {0, 1, 2} - {axis}:
            for end in (0, -1):
                reaching[np.unique(np.take(regions, end, axis=other))] = True
        reaching[0] = True
        inside |= ~reaching[regions]
        inside |= _full_planes(gaps, axis)
    return int(inside.sum())


def _full_planes(gaps: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Mark the planes across ``axis`` that are all gap and have others on both sides that are not."""
    full = gaps.all(axis=tuple(each for each in range(3) if each != axis))
    known = np.flatnonzero(~full)
    between = full & (np.arange(full.size) > known[0]) & (np.arange(full.size) < known[-1])
    shape = [1, 1, 1]
    shape[axis] = full.size
    return np.broadcast_to(between.reshape(shape), gaps.shape)
