"""A label volume on the grid of its CT."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from spinefuse_ext.dicom.volume import read_volume
from spinefuse_ext.registration.fit import trust_headers
from spinefuse_ext.registration.resampling import resample
from spinefuse_ext.validation import ImageReadError

logger = logging.getLogger(__name__)
#: Part of the labelled volume that may be lost by rounding at the borders without a word.
_LOST = 0.05


def label_on_grid(path: str | Path, ct: MetaTensor) -> MetaTensor:
    """Read a label of whole numbers and return it as ``(1, X, Y, Z)`` on the grid of ``ct`` ``(1, X, Y, Z)``.

    It must be drawn in the space of the CT. On another grid it is resampled by its header, nearest voxel; when more
    than a twentieth of its volume lies outside the CT, that is logged.

    Raises:
        MissingPathError: The file does not exist.
        ImageReadError: It is no label, or none of it lies on the CT.
    """
    label = read_volume(path)
    values = label.as_tensor()
    if not bool((values == values.round()).all()) or float(values.min()) < 0:
        raise ImageReadError(f"{path} is no label: expected whole numbers from 0 up; export the segmentation again.")
    if not bool((values > 0).any()):
        raise ImageReadError(f"{path} holds no labelled voxel; leave the cell label empty for a case without a label.")
    if label.shape == ct.shape and torch.allclose(label.affine, ct.affine, atol=1e-4):
        return MetaTensor(values, affine=ct.affine.clone())
    moved = resample(label, trust_headers(), ct, outside=0.0, nearest=True)
    kept = _volume_mm3(moved) / _volume_mm3(label)
    if kept == 0:
        raise ImageReadError(f"{path} lies wholly outside its CT; give the label that was drawn on this CT.")
    if kept < 1 - _LOST:
        logger.warning("%s: %.0f %% of the labelled volume lies outside the CT", path, 100 * (1 - kept))
    return moved


def _volume_mm3(label: MetaTensor) -> float:
    voxel = abs(float(np.linalg.det(label.affine.numpy()[:3, :3])))
    return float((label.as_tensor() > 0).sum()) * voxel
