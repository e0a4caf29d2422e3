"""Whether a label volume can lie where its affine says: headers that lost the place, or mirrored it, are refused."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.label_files.label_grid import in_axes_of, is_same_grid, label_on_grid, say_once
from spinefuse_ext.validation import GridMismatchError

_CLOSE = 1e-3
#: Part of the labelled volume that may be lost at the borders without a word.
_LOST = 0.05
#: World axes that a program negates when it takes RAS for LPS, or one of its relatives.
_NEGATED = {"x and y": (-1, -1, 1), "x": (-1, 1, 1), "y": (1, -1, 1), "z": (1, 1, -1)}


def place_label(label: MetaTensor, image: MetaTensor, *, bone: bool = False) -> tuple[MetaTensor, list[str]]:
    """Return the label ``(1, X, Y, Z)`` on the grid of its image, and what was odd about its place, a sentence each.

    On another grid it is placed by its affine, nearest voxel; when more than a twentieth of the labelled volume lies
    outside the image, that is said. ``bone`` as for ``label_on_grid``.

    Raises:
        GridMismatchError: The affine of the label lost its place, the volumes do not overlap, or no labelled voxel lies
            on the image.
    """
    check_place(label, image)
    placed, found = label_on_grid(label, image, bone=bone)
    labelled, path = _volume_mm3(label), _name(label)
    kept = _volume_mm3(placed) / labelled if labelled else 1.0
    if kept == 0:
        raise GridMismatchError(
            f"No labelled voxel of {path} lies on its image {_name(image)}; give the label that was drawn on it."
        )
    if kept < 1 - _LOST:
        found = [*found, f"{path}: {1 - kept:.0%} of the labelled volume lies outside the image"]
        say_once(found[-1])
    return placed, found


def check_place(label: MetaTensor, image: MetaTensor) -> None:
    """Raise ``GridMismatchError`` where a label has as many voxels as its image and an affine that lost its place.

    That is one of nothing but voxel sizes (what programs write that forgot the place), one without the voxel size or
    the origin of the image, or one with axes of the world negated. Both affines are named. Grids that differ otherwise
    are no mistake by themselves.
    """
    if sorted(label.shape[1:]) != sorted(image.shape[1:]) or _agree(label, image):
        return
    why = _lost(label, image)
    if why:
        raise GridMismatchError(
            f"{_name(label)} has as many voxels as its image {_name(image)}, but {why}: its affine is "
            f"{_told(label)}, that of the image {_told(image)}. Save it with the affine of its image (in ITK by "
            "CopyInformation), or export it again."
        )


def _agree(label: MetaTensor, image: MetaTensor) -> bool:
    """Whether both have one grid, be it with its axes in another order or direction."""
    grid = MetaTensor(torch.zeros(1).expand(label.shape), affine=label.affine)
    turned, _ = in_axes_of(grid, image.affine.numpy())
    same = turned.shape == image.shape
    return bool(same and is_same_grid(turned.affine.numpy(), image.affine.numpy(), image.shape[1:]))


def _lost(label: MetaTensor, image: MetaTensor) -> str:
    """What is wrong with the affine of the label, or nothing."""
    affine, other = label.affine.numpy().astype(np.float64), image.affine.numpy().astype(np.float64)
    if _is_bare(affine, label.shape[1:]):
        return "its header says no place"
    if _is_along_world(affine, 1.0) and not np.allclose(np.linalg.norm(other[:3, :3], axis=0), 1, atol=_CLOSE):
        return "its header lost the voxel size"
    if _is_bare(other, image.shape[1:]) and not _is_near(affine, other, image.shape[1:]):
        return "the header of the image says no place"
    for axes, signs in _NEGATED.items():
        negated = MetaTensor(label.as_tensor(), affine=torch.as_tensor(np.diag([*signs, 1.0]) @ affine))
        if _agree(negated, image):
            return f"its place is negated along {axes} (RAS and LPS mixed up)"
    same_axes = bool(np.allclose(affine[:3, :3], other[:3, :3], atol=_CLOSE))
    return "its header lost the origin" if same_axes and not affine[:3, 3].any() else ""


def _is_near(affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether two affines put no corner of a grid more than a voxel apart, so that both were written for one place."""
    return is_same_grid(affine, other, shape, tolerance=1.0)


def _is_bare(affine: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether an affine is what is written when no place is known: along the axes of the world, from 0 or centred."""
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    placed = min(np.abs(affine[:3, 3]).max(), np.abs(centre).max())
    return _is_along_world(affine) and bool(placed < _CLOSE)


def _is_along_world(affine: NDArray[np.float64], size_mm: float | None = None) -> bool:
    """Whether the voxel axes lie along those of the world, with voxels of a size where one is given."""
    sizes = np.abs(affine[:3, :3])
    along = np.count_nonzero(sizes > _CLOSE) == 3 and bool((sizes.max(axis=0) > _CLOSE).all())
    return along and (size_mm is None or np.allclose(sizes[sizes > _CLOSE], size_mm, atol=_CLOSE))


def _told(volume: MetaTensor) -> str:
    rows = volume.affine.numpy()[:3].round(3).tolist()
    return "[" + "; ".join(" ".join(f"{value:g}" for value in row) for row in rows) + "]"


def _name(volume: MetaTensor) -> str:
    return str(volume.meta.get("filename_or_obj", "the volume"))


def _volume_mm3(label: MetaTensor) -> float:
    voxel = abs(float(np.linalg.det(label.affine.numpy()[:3, :3])))
    return float((label.as_tensor() != 0).sum()) * voxel
