"""How sure the motion of one bone is: how far restarts on parts of the evidence put a pedicle screw elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.registration.bone_alignment import align
from spinefuse_ext.registration.bone_motions import Bone
from spinefuse_ext.registration.bone_refinement import bone_points, refine_bone
from spinefuse_ext.registration.bone_surface import BoneSurface
from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.pedicle_screw import deviation, plan_screws, screw_through

Array = NDArray[np.float64]

RESTARTS = 4
_BLOCK_MM = 10.0
_START_MM = 0.7
#: A usual lumbar pedicle from the centre of its body: to the side, to the front, up.
_PEDICLE_MM = (15.0, -18.0, 5.0)


class Spread(NamedTuple):
    """Root mean square over restarts of the largest deviation of a screw, mm, and of its direction, degrees.

    NaN where no restart came to an end.
    """

    mm: float
    deg: float


def bone_spread(
    bones: Sequence[Bone],
    place: int,
    matrix: Array,
    *,
    images: tuple[MetaTensor, MetaTensor] | None = None,
    seed: int = 0,
) -> Spread:
    """Find the motion of a bone anew from half of the blocks of 10 mm of its surface, then of its image points.

    Half of the evidence is off from all of it by as much as all of it is off from the truth, if blocks err
    independently (the delete-half jackknife; Shao and Wu, Annals of Statistics 1989).
    """
    bone, rng = bones[place], np.random.default_rng(seed)
    points = bone_points(bone, [each for each in bones if each is not bone], seed=seed)
    axes = axes_of(bones, place)
    screws = plan_screws(bone.fixed.voxels_mm, bone.fixed_centre_mm, axes)
    if not screws:  # a body alone: where its pedicles would be
        usual = [axes @ np.array([side * _PEDICLE_MM[0], *_PEDICLE_MM[1:]]) for side in (1, -1)]
        pedicles = zip((1, -1), usual, strict=True)
        screws = [screw_through(bone.fixed_centre_mm + pedicle, side, axes) for side, pedicle in pedicles]
    meant = [screw.moved(LinearMap(matrix)) for screw in screws]
    found = []
    for _ in range(RESTARTS):
        weights = (_half(bone.fixed, rng), _half(bone.moving, rng))
        shift = matrix.copy()
        shift[:3, 3] += rng.normal(0, _START_MM / np.sqrt(3), 3)
        result = align(bone.fixed, bone.moving, shift, weights=weights, near=True)
        again = shift if result is None else result.matrix
        if images is not None:
            again = refine_bone(*images, bone, again, points[_blocks_kept(points, rng) > 0]).matrix
        elif result is None:
            continue
        moved = [screw.moved(LinearMap(again)) for screw in screws]
        found.append([deviation(*pair) for pair in zip(moved, meant, strict=True)])
    if not found:
        return Spread(float("nan"), float("nan"))
    largest = [max(each.largest_mm for each in one) for one in found]
    turns = [max(each.turn_deg for each in one) for one in found]
    return Spread(float(np.sqrt(np.square(largest).mean())), float(np.sqrt(np.square(turns).mean())))


def axes_of(bones: Sequence[Bone], place: int) -> Array:
    """Right, front and up of a bone as columns ``(3, 3)``: up along the line of the bodies, front as the patient's."""
    centres = np.stack([bone.fixed_centre_mm for bone in bones])
    near = centres[max(place - 1, 0) : place + 2]
    up = near[0] - near[-1] if len(near) > 1 else np.array([0.0, 0.0, 1.0])
    up = up / np.linalg.norm(up)
    front = np.array([0.0, 1.0, 0.0]) - up[1] * up
    front = front / np.linalg.norm(front)
    return np.stack([np.cross(front, up), front, up], axis=1)


def _half(surface: BoneSurface, rng: np.random.Generator) -> Array:
    return _blocks_kept(surface.points, rng)


def _blocks_kept(points: Array, rng: np.random.Generator) -> Array:
    """1 for the points of half of the blocks, 0 for the others."""
    blocks = np.unique(np.floor(points / _BLOCK_MM), axis=0, return_inverse=True)[1].ravel()
    count = int(blocks.max()) + 1
    kept = np.zeros(count)
    kept[rng.permutation(count)[: (count + 1) // 2]] = 1.0
    return np.asarray(kept[blocks])
