"""A label volume on the grid of its image by the affines, never by voxel numbers, and what is odd about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from spinefuse_ext.images.stored_image import ITK_FROM_RAS, as_in_itk
from spinefuse_ext.validation import GridMismatchError

logger = logging.getLogger(__name__)

_SAME_VOXELS = 0.01  # two grids are one where no corner differs by this part of a voxel
_BRIGHTER_HU = 50.0
_FLIPS = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
_BONE = 20  # voxels of label below which its brightness says nothing
_FOLLOWED = "the affine says so, and it is followed"  # usual where a label was drawn on the NIfTI of a DICOM series


@lru_cache(maxsize=4096)
def say_once(sentence: str, level: int = logging.WARNING) -> None:
    """Log a sentence about a label, which a training reads in every epoch, the first time in this process."""
    logger.log(level, "%s", sentence)


def label_on_grid(label: MetaTensor, image: MetaTensor, *, bone: bool = True) -> tuple[MetaTensor, list[str]]:
    """Return the labels ``(1, X, Y, Z)`` on the grid of the image, and what was odd, a sentence each; they are logged.

    Where only the order or direction of the axes differs, or slices are missing or too many at an end, voxels are
    copied; any other grid is resampled to the nearest label. What lies outside the image is cut off.

    Raises:
        GridMismatchError: The volumes do not overlap at all.
    """
    found = label_findings(label, image, bone=bone)
    meta = {key: value for key, value in label.meta.items() if key not in ("affine", ITK_FROM_RAS)}
    meta["spatial_shape"] = np.array(image.shape[1:])
    return MetaTensor(_placed(label, image), affine=image.affine.clone(), meta=meta), found


def label_findings(label: MetaTensor, image: MetaTensor, *, bone: bool = True) -> list[str]:
    """Return how the grid of the labels differs from that of their image, and whether they look mirrored; logged.

    Mirrored labels are looked for where they are ``bone`` and the image is a CT: they then lie on darker tissue than
    their mirror image. A flip from left to right, which hardly changes that, is not noticed.

    Raises:
        GridMismatchError: The volumes do not overlap at all.
    """
    moved = place_like(label, image)
    path = label.meta.get("filename_or_obj", "the label volume")
    sentences = [*_grid_findings(label, image, str(path)), *(_mirrored(label, image) if bone else ())]
    found = [*moved, *(f"{path}: {sentence}" for sentence in sentences)]
    for sentence in found:
        say_once(sentence, logging.INFO if sentence.endswith(_FOLLOWED) else logging.WARNING)
    return found


def place_like(label: MetaTensor, image: MetaTensor) -> list[str]:
    """Move a label whose header says two places to that of ITK, if this alone is the grid of its image; say so."""
    there = np.asarray(label.meta.get(ITK_FROM_RAS, np.eye(4))) @ label.affine.numpy()
    same = label.shape == image.shape and is_same_grid(there, image.affine.numpy(), image.shape[1:])
    if not same or is_same_grid(label.affine.numpy(), image.affine.numpy(), image.shape[1:]):
        return []
    as_in_itk(label)
    return [f"{label.meta.get('filename_or_obj', 'the label volume')}: its qform, not its sform, is that of the image"]


def _placed(label: MetaTensor, image: MetaTensor) -> torch.Tensor:
    """Return the nearest label at every voxel of the image; SciPy needs no grid of positions, which is 4 volumes."""
    affines = label.affine.numpy(), image.affine.numpy()
    if label.shape[1:] == image.shape[1:] and is_same_grid(*affines, label.shape[1:]):
        return label.as_tensor().clone()
    step = np.linalg.inv(label.affine.numpy()) @ image.affine.numpy()
    moved = ndimage.affine_transform(
        label.numpy()[0], step[:3, :3], step[:3, 3], tuple(image.shape[1:]), order=0, mode="grid-constant", cval=0
    )
    return torch.from_numpy(moved)[None]


def _grid_findings(label: MetaTensor, image: MetaTensor, path: str) -> Iterator[str]:
    if is_same_grid(label.affine.numpy(), image.affine.numpy(), label.shape[1:]) and label.shape == image.shape:
        return
    turned, change = in_axes_of(label, image.affine.numpy())
    if change:
        yield f"its axes are {change} those of the image; {_FOLLOWED}"
    start = np.linalg.inv(image.affine.numpy()) @ turned.affine.numpy()
    first = start[:3, 3]
    steps_agree = bool(abs(start[:3, :3] - np.eye(3)).max() * max(turned.shape[1:]) < 0.5)
    last = first + np.array(turned.shape[1:]) - 1
    if (last < -0.5).any() or (first > np.array(image.shape[1:]) - 0.5).any():
        raise GridMismatchError(f"{path} lies wholly outside its image; check that they belong together.")
    if not steps_agree or abs(first - np.rint(first)).max() > _SAME_VOXELS:
        yield from _other_grid(turned, image)
        return
    extra = [np.maximum(-np.rint(first), 0), np.maximum(np.rint(last) - np.array(image.shape[1:]) + 1, 0)]
    lacking = [np.maximum(np.rint(first), 0), np.maximum(np.array(image.shape[1:]) - 1 - np.rint(last), 0)]
    for sides, what in ((extra, "too many; the affine says which, and they are left out"), (lacking, "missing")):
        for axis in np.flatnonzero(sides[0] + sides[1]):
            low, high = int(sides[0][axis]), int(sides[1][axis])
            yield f"along axis {axis} it has {low} slices before and {high} after those of the image {what}"


def _other_grid(turned: MetaTensor, image: MetaTensor) -> Iterator[str]:
    differ = np.array(turned.shape[1:]) - np.array(image.shape[1:])
    if (abs(differ) == 1).any() and (abs(differ) <= 1).all():
        axes = ", ".join(str(axis) for axis in np.flatnonzero(differ))
        yield (
            f"it has one slice more or less than the image along axis {axes}, and its affine does not say which; it "
            "was placed by the affine, so look whether it fits, and export it again if not"
        )
    else:
        yield "it lies on another grid than the image and was placed by the affines"


def is_same_grid(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: Sequence[int], tolerance: float = _SAME_VOXELS
) -> bool:
    """Say whether two affines put every corner of a grid of the shape into the same places, to a part of a voxel."""
    corners = np.array([[*place, 1] for place in product(*((0, size - 1) for size in shape))]).T
    return bool(abs(np.linalg.inv(other) @ one @ corners - corners).max() < tolerance)


def in_axes_of(label: MetaTensor, affine_of: NDArray[np.float64]) -> tuple[MetaTensor, str]:
    """Return a volume with its voxel axes along those of an affine, and what was changed ("flipped (axis 1)")."""
    relative = nib.io_orientation(np.linalg.inv(affine_of) @ label.affine.numpy())
    order, signs = relative[:, 0].astype(int), relative[:, 1]
    voxels = nib.apply_orientation(label.as_tensor()[0].cpu().numpy(), relative)
    affine = label.affine.numpy() @ nib.orientations.inv_ornt_aff(relative, label.shape[1:])
    changes = []
    if (order != np.arange(3)).any():
        changes.append(f"in another order ({', '.join(map(str, order))}) than")
    if (signs < 0).any():
        changes.append(f"flipped (axis {', '.join(map(str, np.flatnonzero(signs < 0)))}) against")
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels))[None], affine=affine), " and ".join(changes)


def _mirrored(label: MetaTensor, image: MetaTensor) -> Iterator[str]:
    """Name a flip of the voxel axes under which the labels lie on clearly brighter tissue of a CT."""
    if image.meta.get("modality", "CT") != "CT" or not (image.as_tensor() < -500).any():
        return
    placed = _placed(label, image).numpy()[0] > 0
    voxels = image.numpy()[0]
    if placed.sum() < _BONE:
        return
    now = float(voxels[placed].mean())
    means = {axes: float(voxels[np.flip(placed, axes)].mean()) for axes in _FLIPS}
    best = max(means, key=means.__getitem__)
    if means[best] > now + _BRIGHTER_HU:
        axes = ", ".join(map(str, best))
        yield (
            f"the labels lie on tissue of {now:.0f} HU on average, but of {means[best]:.0f} HU when flipped along axis "
            f"{axes} of the image; their axes look flipped, export them again if so"
        )
