"""Whether labelled discs or vertebrae lie as far apart in mm as those of a person: a wrong voxel size shows there."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from spinefuse_ext.labels import STRUCTURES, VERTEBRAE

logger = logging.getLogger(__name__)

#: Distance in mm of the centres of neighbouring discs or vertebrae in adults, by region: body height and disc height
#: together, from Busscher et al., European Spine Journal 19:1104 (2010), and for the lower lumbar spine Zhou et al.,
#: European Spine Journal 9:242 (2000), with about a tenth to spare.
LEVEL_SPACING_MM: dict[str, tuple[float, float]] = {"C": (13.0, 24.0), "T": (17.0, 35.0), "L": (30.0, 45.0)}
_USUAL_MM = 37.0  # of lumbar levels
_REGIONS = {"C": "cervical", "T": "thoracic", "L": "lumbar"}
_DISC = next(number for number, name in STRUCTURES.items() if name == "disc")
_SPECK = 0.3  # part of the largest disc's volume, below which a piece is none
_SOME = 2  # levels that one distance needs
_MOST = 0.75  # part of the distances that must be too small


def implausible_size(label: MetaTensor) -> list[str]:
    """Return in one sentence that the levels of a label ``(1, X, Y, Z)`` lie too close or too far apart; often none.

    A label of the classes ``STRUCTURES`` is measured at its discs, of which each piece is one; the region is not known,
    so it is held against the lumbar one, and the sentence says so. A label with the numbers of ``VERTEBRAE`` is
    measured at neighbouring vertebrae of one region. What an end of the volume cuts does not count, for its centre lies
    elsewhere. The sentence is logged. Any other label is not judged.
    """
    volume = np.rint(label.as_tensor()[0].cpu().numpy()).astype(np.int64)
    affine = label.affine.cpu().numpy()
    present = [int(number) for number in np.unique(volume) if number > 0]
    if not present:
        return []
    if set(present) <= set(STRUCTURES):
        found = _discs(volume, affine)
    else:
        found = _vertebrae(volume, affine, present) if set(present) <= set(VERTEBRAE) else []
    path = label.meta.get("filename_or_obj", "the label volume")
    sentences = [f"{path}: {sentence}" for sentence in found]
    for sentence in sentences:
        logger.warning("%s", sentence)
    return sentences


def neighbour_spacing_mm(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances ``(N - 1,)`` between centres ``(N, 3)``, mm, that follow each other along the line through all."""
    if len(centres) < _SOME:
        return np.empty(0)
    _, _, axes = np.linalg.svd(centres - centres.mean(0))
    in_order = centres[np.argsort(centres @ axes[0])]
    return np.asarray(np.linalg.norm(np.diff(in_order, axis=0), axis=1))


def _discs(volume: NDArray[np.int64], affine: NDArray[np.float64]) -> list[str]:
    pieces, number = ndimage.label(volume == _DISC, structure=np.ones((3, 3, 3)))
    if number < _SOME:
        return []
    sizes = ndimage.sum_labels(pieces > 0, pieces, np.arange(1, number + 1))
    discs = set((1 + np.flatnonzero(sizes >= _SPECK * sizes.max())).tolist()) - _cut(pieces, affine)
    spacing = neighbour_spacing_mm(_centres(pieces, sorted(discs), affine)) if discs else np.empty(0)
    if not spacing.size:
        return []
    return _judged("discs", "L", spacing, affine)


def _cut(numbers: NDArray[np.int64], affine: NDArray[np.float64]) -> set[int]:
    """Numbers that reach the first or the last plane from head to foot."""
    axis = int(np.abs(affine[2, :3]).argmax())
    return {int(number) for end in (0, -1) for number in np.unique(np.take(numbers, end, axis=axis))}


def _vertebrae(volume: NDArray[np.int64], affine: NDArray[np.float64], present: list[int]) -> list[str]:
    cut = _cut(volume, affine)
    numbers = [number for number in present if number not in cut]
    if len(numbers) < _SOME:
        return []
    places = _centres(volume, numbers, affine)
    if (np.diff(places[:, 2]) >= 0).any():
        return []  # numbers that rise towards the head are of another table
    centres = dict(zip(numbers, places, strict=True))
    by_region: dict[str, list[float]] = {}
    for one, next_one in pairwise(numbers):
        region = VERTEBRAE[one][0]
        if next_one == one + 1 and VERTEBRAE[next_one][0] == region and region in LEVEL_SPACING_MM:
            by_region.setdefault(region, []).append(float(np.linalg.norm(centres[one] - centres[next_one])))
    found = []
    for region, spacing in by_region.items():
        found += _judged("vertebrae", region, np.array(spacing), affine)
    return found


def _judged(what: str, region: str, spacing: NDArray[np.float64], affine: NDArray[np.float64]) -> list[str]:
    """Hold distances against a region; a missing level doubles one of them, one in two pieces adds a small one."""
    low, high = LEVEL_SPACING_MM[region]
    if np.quantile(spacing, _MOST) >= low and spacing.min() <= high:
        return []
    off = float(np.median(spacing)) if spacing.min() <= high else float(spacing.min())
    voxel = " x ".join(f"{size:.3g}" for size in np.linalg.norm(affine[:3, :3], axis=0))
    factor = (_USUAL_MM if region == "L" else (low + high) / 2) / off
    unless = "unless this is no lumbar spine or a child's" if what == "discs" else "unless this is a child"
    return [
        f"the centres of neighbouring {what} lie {off:.1f} mm apart (median of {spacing.size}), "
        f"but {low:g} to {high:g} mm in the {_REGIONS[region]} spine of adults: the voxels are probably not {voxel} mm "
        f"but about {factor:.2g} times as large; check PixelSpacing, {unless}"
    ]


def _centres(volume: NDArray[np.int64], numbers: list[int], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    voxels = np.array(ndimage.center_of_mass(np.ones_like(volume), volume, numbers))
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)
