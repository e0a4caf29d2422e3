"""CT values that are no Hounsfield units: found, named in plain sentences, and corrected where it is certain."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.hounsfield import SHIFT_HU, is_shifted

logger = logging.getLogger(__name__)

AIR_HU = -1000.0
_NO_TISSUE_HU = -1500.0  # nothing in or around a patient is below air
_FEW = 0.01  # part of the voxels
_FRAME_HU = 300.0


class Finding(NamedTuple):
    """What is wrong with the values, as a sentence, and whether it was certain enough to be corrected."""

    sentence: str
    corrected: bool


def check_hounsfield(image: MetaTensor, path: str | Path, padding: float | None = None) -> list[str]:
    """Return what speaks against the CT ``(1, X, Y, Z)`` of ``path`` being HU, one sentence each; often none.

    Args:
        image: The CT, affine in RAS.
        path: Where it comes from, for the sentences.
        padding: Value outside the scanned circle where the file names it (DICOM PixelPaddingValue, rescaled).
    """
    _, findings = _examined(image.as_tensor()[0].cpu().numpy(), image.affine.cpu().numpy(), padding)
    return [f"{path}: {finding.sentence}" for finding in findings]


def correct_hounsfield(
    voxels: NDArray[np.float32], affine: NDArray[np.float64], path: str | Path, padding: float | None = None
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the CT ``(X, Y, Z)`` with what is certain corrected, and every finding as a sentence; they are logged too.

    Certain are padding (the named value, or anything below -1500) that reaches the edge of a slice, which becomes air
    (-1000 HU), and a shift by 1024 (:func:`~spinefuse_ext.hounsfield.is_shifted`).
    """
    corrected, findings = _examined(voxels, affine, padding)
    for finding in findings:
        logger.log(logging.INFO if finding.corrected else logging.WARNING, "%s: %s", path, finding.sentence)
    return corrected, [f"{path}: {finding.sentence}" for finding in findings]


def _examined(
    voxels: NDArray[np.float32], affine: NDArray[np.float64], padding: float | None
) -> tuple[NDArray[np.float32], list[Finding]]:
    slices = np.moveaxis(voxels, int(np.abs(affine[2, :3]).argmax()), 0)  # axial ones: the circle lies in them
    findings: list[Finding] = []
    outside = _at_the_edge(slices, padding)
    if outside.any():
        low = float(slices[outside].min())
        slices = np.where(outside, np.float32(AIR_HU), slices)
        findings.append(
            Finding(
                f"{outside.sum()} padding voxels outside the scan (down to {low:g}) were set to {AIR_HU:g} HU", True
            )
        )
    slices, shifted = _unshifted(slices, ~outside)
    findings += shifted + _doubts(slices)
    return np.ascontiguousarray(np.moveaxis(slices, 0, int(np.abs(affine[2, :3]).argmax()))), findings


def _at_the_edge(slices: NDArray[np.float32], padding: float | None) -> NDArray[np.bool_]:
    """Return the padding voxels of each slice that hang together with its edge."""
    candidates = slices <= _NO_TISSUE_HU
    if padding is not None and padding != AIR_HU:
        candidates |= slices == np.float32(padding)
    for place in np.flatnonzero(candidates.any(axis=(1, 2))):
        candidates[place] = _touching_edge(candidates[place])
    return candidates


def _touching_edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage  # most images need none of it, and not every machine has it

    regions, _ = ndimage.label(mask)
    edge = np.unique(np.concatenate((regions[0], regions[-1], regions[:, 0], regions[:, -1])))
    return np.isin(regions, edge[edge > 0])


def _unshifted(slices: NDArray[np.float32], scanned: NDArray[np.bool_]) -> tuple[NDArray[np.float32], list[Finding]]:
    """Take 1024 from an image that was stored without its intercept; say so, or that it might be one."""
    values = slices[scanned]
    if is_shifted(values):
        moved = np.where(scanned, slices - np.float32(SHIFT_HU), slices)
        return moved, [Finding("the values lay 1024 too high (intercept missing) and were shifted to HU", True)]
    if not values.size or values.min() < 0:
        return slices, []
    low, high = float(values.min()), float(values.max())
    return slices, [Finding(f"no value is below 0 (they reach from {low:g} to {high:g}), so this may be no HU", False)]


def _doubts(slices: NDArray[np.float32]) -> list[Finding]:
    """Return what is seen but not certain enough to be changed."""
    findings: list[Finding] = []
    deep = int((slices <= _NO_TISSUE_HU).sum())
    if deep:
        findings.append(Finding(f"{deep} voxels inside the scan are below {_NO_TISSUE_HU:g} HU and were kept", False))
    corners = slices[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    if (corners == 0).all() and (slices < -900).mean() > _FEW:
        findings.append(
            Finding("the corners of all slices are 0 HU (water) while there is air inside, so 0 may be padding", False)
        )
    ring = np.concatenate(
        [slices[:, 0].ravel(), slices[:, -1].ravel(), slices[..., 0].ravel(), slices[..., -1].ravel()]
    )
    if min(slices.shape[1:]) > 2 and ring.min() == ring.max() >= _FRAME_HU:
        findings.append(Finding(f"a frame of one value ({ring[0]:g}) surrounds every slice; crop it", False))
    return findings
