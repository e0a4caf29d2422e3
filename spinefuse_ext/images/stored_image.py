"""One volume as its file holds it, before anything is corrected."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

Affine = NDArray[np.float64]

#: LPS <-> RAS as a map (4, 4): the first two axes change sign; its own inverse.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Keys of ``meta``: the map ``(4, 4)`` of RAS points from where this package places them to where ITK and 3D Slicer do,
#: and whether the file says at all where the patient lies.
ITK_FROM_RAS, PLACED = "itk_from_ras", "placed"


#: Axes that are further from perpendicular are named.
SHEAR_DEG = 0.1


@dataclass(frozen=True)
class Place:
    """Where the voxels lie: ``affine`` ``(4, 4)`` to RAS mm, and what the header left open.

    ``itk_from_ras`` takes a point of the image to where ITK and with it 3D Slicer and ANTs show it; the identity unless
    the header says two places. ``placed`` is False where it says none. ``found`` has a sentence for all that is odd.
    """

    affine: Affine
    itk_from_ras: Affine = field(default_factory=lambda: np.eye(4))
    placed: bool = True
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredImage:
    """Values ``(X, Y, Z)`` and their place; ``is_labels`` where the file says that it is a segmentation."""

    voxels: NDArray[np.float32]
    place: Place
    is_labels: bool = False


def as_in_itk(image: MetaTensor) -> list[str]:
    """Move the image to where ITK, ANTs and 3D Slicer place it, and say so; nothing where that is the same place.

    For points and transforms that were made in one of these programs. The affine of ``image`` is replaced.
    """
    moved = image.meta.get(ITK_FROM_RAS)
    if moved is None or np.array_equal(moved, np.eye(4)):
        return []
    affine = image.affine
    image.affine = affine.new_tensor(np.asarray(moved)) @ affine
    image.meta[ITK_FROM_RAS] = np.eye(4)
    return [
        f"{image.meta.get('filename_or_obj', 'the image')}: placed as ITK and 3D Slicer place it, because the "
        "landmarks or the transform come from there"
    ]


def corner_distance_mm(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the places that two affines give a corner voxel of the grid ``shape``."""
    ends = np.array(np.meshgrid(*((0, size - 1) for size in shape), indexing="ij")).reshape(3, -1)
    apart = (one - other) @ np.vstack([ends, np.ones(ends.shape[1])])
    return float(np.linalg.norm(apart[:3], axis=0).max())


def is_usable(affine: Affine) -> bool:
    """Whether an affine is finite and spans a volume."""
    return bool(np.isfinite(affine).all()) and abs(float(np.linalg.det(affine))) >= 1e-9


def shear_deg(affine: Affine) -> float:
    """How far the axes of an affine are from being perpendicular, the worst pair, in degrees."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = (axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(np.clip(np.abs(cosines), 0, 1))).max())
