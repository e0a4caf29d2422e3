"""What an image of a spine hardly holds: one or few values, empty slices in between, one slice, a body of no size."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.images.body_size import odd_size
from spinefuse_ext.validation import ImageReadError

logger = logging.getLogger(__name__)

_AIR_HU = -900.0
_FEW, _SAMPLE = 30, 100_000
_JUDGED = 1000  # voxels, below which a piece of one value may be a piece of an image


def content_findings(image: MetaTensor, modality: str, path: str | Path) -> list[str]:
    """Return what is odd about a CT or MR ``(1, X, Y, Z)``, a sentence each; they are logged.

    Raises:
        ImageReadError: All voxels have one value, and there are 1000 or more.
    """
    voxels = image.numpy()[0]
    if voxels.size >= _JUDGED and float(voxels.min()) == float(voxels.max()):
        raise ImageReadError(f"{path} holds one value only ({voxels.flat[0]:g}), no {modality}; export it again.")
    found = [
        *_one_slice(voxels),
        *_few_values(voxels),
        *_empty_slices(voxels, image.affine.numpy(), modality),
        *odd_size(voxels, image.affine.numpy(), modality),
    ]
    found = [f"{path}: {sentence}" for sentence in found]
    for sentence in found:
        logger.warning("%s", sentence)
    return found


def _one_slice(voxels: NDArray[np.float32]) -> list[str]:
    if 1 not in voxels.shape:
        return []
    return [f"it holds one slice only ({' x '.join(map(str, voxels.shape))} voxels); a registration needs the volume"]


def _few_values(voxels: NDArray[np.float32]) -> list[str]:
    """Say that a volume looks like a label map: whole numbers from 0, few of them."""
    if voxels.size < _JUDGED or np.unique(voxels.ravel()[:: max(voxels.size // _SAMPLE, 1)]).size > _FEW:
        return []
    values = np.unique(voxels)
    if values.size > _FEW or values[0] != 0 or (values != np.round(values)).any():
        return []
    listed = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if values.size > 5 else "")
    return [f"it holds {values.size} values only ({listed}), as a label map or a mask does; name the image itself"]


def _empty_slices(voxels: NDArray[np.float32], affine: NDArray[np.float64], modality: str) -> list[str]:
    """Name planes of one value between planes that have several; at the ends they are padding.

    Nothing but air beside a body is no matter in a CT, only across it.
    """
    found = []
    head_foot = int(np.abs(affine[2, :3]).argmax())
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        if min(voxels.shape[each] for each in others) < 2:
            continue
        low, high = voxels.min(axis=others), voxels.max(axis=others)
        filled = np.flatnonzero(low < high)
        flat = (low == high) & ~((modality == "CT") & (axis != head_foot) & (high <= _AIR_HU))
        empty = [place for place in np.flatnonzero(flat) if filled.size and filled[0] < place < filled[-1]]
        if empty:
            numbers = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
            words = "slice" if len(empty) == 1 else f"{len(empty)} slices"
            found.append(
                f"{words} {numbers} along axis {axis} (counted from 0) between others hold{'s' * (len(empty) == 1)} "
                f"{low[empty[0]]:g} only, so a part of the scan is missing; export it again"
            )
    return found
