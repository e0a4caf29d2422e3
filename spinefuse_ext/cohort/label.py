"""A label volume on the grid of its CT, checked to be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.data import MetaTensor

from spinefuse_ext.dicom.label_grid import label_on_grid
from spinefuse_ext.dicom.volume import read_volume
from spinefuse_ext.validation import ImageReadError

#: Part of the labelled volume that may be lost by rounding at the borders without a word.
_LOST = 0.05


def read_label(path: str | Path, ct: MetaTensor) -> tuple[MetaTensor, list[str]]:
    """Read a label of whole numbers, ``(1, X, Y, Z)`` on the grid of ``ct``, and what is odd about it.

    It must be drawn in the space of the CT. On another grid it is placed by its affine, nearest voxel; when more than a
    twentieth of its volume lies outside the CT, that is said.

    Raises:
        MissingPathError: The file does not exist.
        ImageReadError: It is no label, or none of it lies on the CT.
        GridMismatchError: The volumes do not overlap at all.
    """
    label = read_volume(path)
    values = label.as_tensor()
    if not bool((values == values.round()).all()) or float(values.min()) < 0:
        raise ImageReadError(f"{path} is no label: expected whole numbers from 0 up; export the segmentation again.")
    if not bool((values > 0).any()):
        raise ImageReadError(f"{path} holds no labelled voxel; leave the cell label empty for a case without a label.")
    placed, found = label_on_grid(label, ct)
    kept = _volume_mm3(placed) / _volume_mm3(label)
    if kept == 0:
        raise ImageReadError(f"No labelled voxel of {path} lies on its CT; give the label that was drawn on this CT.")
    if kept < 1 - _LOST:
        found = [*found, f"{path}: {1 - kept:.0%} of the labelled volume lies outside the CT"]
    return placed, found


def _volume_mm3(label: MetaTensor) -> float:
    voxel = abs(float(np.linalg.det(label.affine.numpy()[:3, :3])))
    return float((label.as_tensor() > 0).sum()) * voxel
