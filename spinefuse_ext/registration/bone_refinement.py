"""The motion of one bone improved by what the images share about it, in small bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from spinefuse_ext.registration.bone_motions import Bone
from spinefuse_ext.registration.comparison_region import region_at
from spinefuse_ext.registration.correction import turn_deg
from spinefuse_ext.registration.linear import LinearMap, to_itk
from spinefuse_ext.registration.mutual_information import Limits, maximise

Array = NDArray[np.float64]

#: The images are compared on the bone and this far beside it: on its rim, and no farther than its own motion reaches.
REACH_MM = 4.0
#: What labels leave open. On the tuning phantoms (seeds below 900) surfaces were off by less.
BONE_LIMITS = Limits(4.0, 6.0)
_POINTS, _FEWEST = 6_000, 800
_INSIDE_MM, _MARGIN_MM = 2.0, 6.0
_AT_LIMIT, _MOST_LOST = 0.98, 0.2


class BoneCorrection(NamedTuple):
    """The motion ``(4, 4)`` after the images had their say; ``reason`` is why they had none, None where it moved.

    ``before`` and ``after`` are mutual information in nats.
    """

    matrix: Array
    shift_mm: float
    turn_deg: float
    before: float
    after: float
    reason: str | None


def bone_points(bone: Bone, others: Sequence[Bone], *, seed: int = 0) -> Array:
    """Random points ``(N, 3)``, RAS mm, up to 4 mm from a bone of the CT and nearer to it than to the ``others``."""
    rng = np.random.default_rng(seed)
    voxels = bone.fixed.voxels_mm
    points = rng.uniform(voxels.min(0) - REACH_MM, voxels.max(0) + REACH_MM, (8 * _POINTS, 3))
    far = cKDTree(voxels).query(points, distance_upper_bound=REACH_MM)[0]
    points, far = points[np.isfinite(far)][: 2 * _POINTS], far[np.isfinite(far)][: 2 * _POINTS]
    for other in others:
        own = cKDTree(other.fixed.voxels_mm).query(points, distance_upper_bound=REACH_MM)[0] >= far
        points, far = points[own], far[own]
    return points[:_POINTS]


def refine_bone(ct: MetaTensor, mr: MetaTensor, bone: Bone, start: Array, points: Array) -> BoneCorrection:
    """Return the motion near ``start`` with the largest mutual information at the points that lie in both fields.

    It stays at the start where too few points do, no optimum is within 4 mm and 6 degrees, or more than a fifth of
    the points would leave the MR.
    """
    motion = LinearMap(start)
    inside = (bone.moving.field.depth_mm(motion(points)) > _INSIDE_MM) & (bone.fixed.field.depth_mm(points) > 0)
    points = points[inside]
    if len(points) < _FEWEST:
        return BoneCorrection(start, 0.0, 0.0, 0.0, 0.0, "too little of it lies in both images")
    levels = region_at(ct, mr, motion, points, margin_mm=_MARGIN_MM).levels()
    found = maximise(levels, to_itk(start), BONE_LIMITS)
    turn = turn_deg(found.correction)
    reason = None
    if found.after <= found.before:
        reason = "the mutual information did not rise"
    elif found.shift_mm > _AT_LIMIT * BONE_LIMITS.shift_mm or turn > _AT_LIMIT * BONE_LIMITS.turn_deg:
        reason = f"no optimum lies within {BONE_LIMITS.shift_mm:g} mm and {BONE_LIMITS.turn_deg:g} degrees"
    elif found.lost > _MOST_LOST:
        reason = f"{found.lost:.0%} of the points left the MR"
    matrix = start if reason else start @ found.correction.matrix
    return BoneCorrection(matrix, found.shift_mm, turn, found.before, found.after, reason)
