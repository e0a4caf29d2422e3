"""Points spread over the bones that both scans show, which carry every registration model as clicked ones do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from spinefuse_ext.registration.bone_motions import Bone
from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.per_vertebra import PerVertebraMap, fit_per_vertebra
from spinefuse_ext.registration.vertebrae import Vertebrae

Array = NDArray[np.float64]

#: Points of a bone. The models count with clicks that are off by 1 mm, and with what discs do: more points let the bone
#: go its own way more. Surfaces of labels are led by what discs do; a motion that the images fixed hardly is.
OF_LABELS, OF_IMAGES = 16, 48
_PARTNER_MM = 2.0


def spread_points(bone: Bone, matrix: Array, count: int) -> tuple[Array, Array]:
    """Points ``(count, 3)`` on the CT's surface that have a partner in the MR, far from each other, and where they go.

    Each is the one farthest from those before it, the first the one farthest from the bone's centre.
    """
    points = bone.fixed.points
    moved = LinearMap(matrix)(points)
    away = np.abs(bone.moving.distance(moved)[0])
    known = np.flatnonzero(away < _PARTNER_MM)
    if len(known) < count:
        known = np.argsort(np.nan_to_num(away, nan=np.inf))[:count]
    kept, far = [], np.linalg.norm(points[known] - bone.fixed.centre_mm, axis=1)
    for _ in range(min(count, len(known))):
        chosen = int(far.argmax())
        kept.append(known[chosen])
        far = np.minimum(far, np.linalg.norm(points[known] - points[known[chosen]], axis=1))
    return points[kept], moved[kept]


def joined_points(
    bones: Sequence[Bone], matrices: Sequence[Array | None], count: int
) -> tuple[Array, Array, NDArray[np.int64]]:
    """CT points, MR points and the place of the bone of each, of all bones that have a matrix."""
    pairs = [
        (place, *spread_points(bone, matrix, count))
        for place, (bone, matrix) in enumerate(zip(bones, matrices, strict=True))
        if matrix is not None
    ]
    owner = np.concatenate([np.full(len(fixed), place) for place, fixed, _ in pairs])
    return np.concatenate([each[1] for each in pairs]), np.concatenate([each[2] for each in pairs]), owner


def neighbourly(bones: Sequence[Bone], matrices: Sequence[Array | None], count: int) -> PerVertebraMap:
    """The map under which bones with a matrix keep to it as far as discs let them, and the others follow."""
    fixed, moving, owner = joined_points(bones, matrices, count)
    return fit_per_vertebra(fixed, moving, vertebrae_of(bones, owner), np.arange(len(fixed)))


def vertebrae_of(bones: Sequence[Bone], owner: NDArray[np.int64]) -> Vertebrae:
    """The bones of the CT with the ``owner`` of each of N points, by its place among them."""
    spacing = bones[0].fixed.field.spacing_mm
    return Vertebrae(
        names=tuple(bone.name for bone in bones),
        ranks=np.array([bone.rank for bone in bones]),
        centres_mm=np.stack([bone.fixed_centre_mm for bone in bones]),
        owner=owner,
        bones=tuple(cKDTree(bone.fixed.voxels_mm) for bone in bones),
        voxel_mm=float(spacing.min() / 2),
    )
