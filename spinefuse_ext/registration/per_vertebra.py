"""One rigid motion per vertebra, all found together, and a smooth blend of them in between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration.linear import LinearMap, fit_rigid
from spinefuse_ext.registration.twist import log_motions, move_by
from spinefuse_ext.registration.vertebrae import Vertebrae

Array = NDArray[np.float64]

#: Standard deviation per axis of the distance between one click in the CT and one in the MR, each off by 1 mm.
CLICK_MM = float(np.sqrt(2 / 3))
#: What a change of posture does at one disc, as standard deviations: the bend that all discs share, and what each does
#: by itself. Axes are right (flexion), anterior (side bend) and superior (twist): a lumbar joint flexes most and hardly
#: twists. Chosen by trial on 20 phantoms and one real pair, not taken from a study of posture.
SHARED_DEG, OWN_DEG = np.array([3.0, 1.0, 0.5]), np.array([1.5, 0.75, 0.5])
SHARED_MM, OWN_MM = 0.5, 0.5
#: Stiffnesses (of the shared bend, of each disc's own) among which the landmarks choose, by their evidence.
STIFFNESSES = tuple((shared, own) for shared in (1.0, 3.0) for own in (1.0, 2.5, 6.0))
_POWER = 4
_ON_BODY_MM, _LEAST_MM = 5.0, 1e-3
#: Distances to bone may be this part too long: far from bone the search is then many times faster, on it exact.
_SEARCH = 0.1


@dataclass(frozen=True)
class PerVertebraMap:
    """``(N, 3)`` RAS mm in fixed (CT) space -> ``(N, 3)`` RAS mm in moving (MR) space, piecewise rigid.

    A point takes the average of the vertebrae's motions (of their logarithms, Arsigny et al., 2009) weighted by the
    inverse fourth power of its distance to each (Little et al., Medical Image Analysis 1997). Inside a labelled
    vertebra, and at a landmark without labels, that is the vertebra's own motion.
    """

    vertebrae: Vertebrae
    whole: LinearMap
    twists: Array
    anchors: tuple[cKDTree | None, ...]

    def __call__(self, points_mm: Array) -> Array:
        points = np.asarray(points_mm, dtype=np.float64)
        weights = self._distances_mm(points) ** -_POWER
        shares = weights / weights.sum(0)
        return self.whole(move_by(shares.T @ self.twists, points))

    @property
    def matrices(self) -> Array:
        """``(V, 4, 4)`` motion of each vertebra in RAS, from the head down."""
        corners = np.vstack([np.zeros(3), np.eye(3)])
        moved = [self.whole(move_by(np.tile(twist, (4, 1)), corners)) for twist in self.twists]
        matrices = np.tile(np.eye(4), (len(moved), 1, 1))
        for matrix, (origin, *ends) in zip(matrices, moved, strict=True):
            matrix[:3, :3], matrix[:3, 3] = np.stack(ends, axis=1) - origin[:, None], origin
        return matrices

    def _distances_mm(self, points: Array) -> Array:
        """``(V, N)`` distance to each vertebra, at least a micrometre so that its inverse is finite."""
        bones = self.vertebrae.bones
        if bones:
            far = np.stack([bone.query(points, eps=_SEARCH)[0] for bone in bones]) - self.vertebrae.voxel_mm
        else:
            far = np.stack([self._to_body(place, points) for place in range(len(self.twists))])
        return np.maximum(far, _LEAST_MM)

    def _to_body(self, place: int, points: Array) -> Array:
        """Distance to the slab of a level's body, or to the nearest of its landmarks where that is less."""
        centres = self.vertebrae.centres_mm
        height, heights = points[:, 2], centres[:, 2]
        gap = np.abs(np.delete(heights, place) - heights[place]).min() if len(heights) > 1 else np.inf
        far = _ON_BODY_MM + np.maximum(np.abs(height - heights[place]) - 0.35 * gap, 0)
        anchor = self.anchors[place]
        return far if anchor is None else np.minimum(far, anchor.query(points)[0])


def fit_per_vertebra(fixed: Array, moving: Array, vertebrae: Vertebrae, rows: NDArray[np.int64]) -> PerVertebraMap:
    """Fit the landmarks ``rows`` of ``(N, 3)`` points; ``vertebrae`` groups all N.

    Few clicked points do not determine a bone's six numbers, so all bones are solved together: the squared distances at
    the landmarks over the click error, plus what each disc bends and slips over what discs do (the constants above).
    A vertebra without landmarks follows its neighbours.
    """
    used, owner = fixed[rows], vertebrae.owner[rows]
    whole = fit_rigid(used, moving[rows])
    back = LinearMap(np.linalg.inv(whole.matrix).astype(np.float64))
    target = back(moving[rows])
    motions = _Chain(vertebrae, used, target, owner).solve()
    anchors = tuple(cKDTree(used[owner == place]) if (owner == place).any() else None for place in range(len(motions)))
    return PerVertebraMap(vertebrae, whole, log_motions(motions), anchors)


@dataclass(frozen=True)
class _Chain:
    """The least-squares problem after the whole spine was moved: small turns and shifts of V bones about their centres.

    Unknowns: ``(V, 6)`` turn (radians) and shift (mm) per bone, then the 6 that all discs share.
    """

    vertebrae: Vertebrae
    points: Array
    target: Array
    owner: NDArray[np.int64]

    def solve(self) -> Array:
        """Return ``(V, 4, 4)``: solved once, then again with the stiffness that the first solution makes likeliest."""
        count = len(self.vertebrae.names)
        scale = np.tile([0.02] * 3 + [1.0] * 3, count + 1)
        solve = partial(least_squares, method="lm", x_scale=scale, xtol=1e-6, ftol=1e-6)
        first = solve(self._residuals, np.zeros_like(scale))
        weights = min(map(self._weights, STIFFNESSES), key=lambda each: _surprise(first.fun, first.jac, each))
        answer = solve(lambda unknown: weights * self._residuals(unknown), first.x).x[:-6].reshape(count, 6)
        centres = self.vertebrae.centres_mm
        matrices = np.tile(np.eye(4), (count, 1, 1))
        matrices[:, :3, :3] = Rotation.from_rotvec(answer[:, :3]).as_matrix()
        matrices[:, :3, 3] = centres + answer[:, 3:] - np.einsum("vij,vj->vi", matrices[:, :3, :3], centres)
        return matrices

    def _weights(self, stiffness: tuple[float, float]) -> Array:
        """One factor per residual; a stiffness divides the standard deviations of what the discs do."""
        shared, own = stiffness
        return np.repeat([1.0, own, shared], [3 * len(self.points), 6 * (len(self.vertebrae.names) - 1), 6])

    def _residuals(self, unknown: Array) -> Array:
        bones, shared = unknown[:-6].reshape(-1, 6), unknown[-6:]
        data = (self._move(bones, self.owner, self.points) - self.target) / CLICK_MM
        centres, steps = self.vertebrae.centres_mm, np.diff(self.vertebrae.ranks)[:, None].astype(float)
        discs, upper = (centres[1:] + centres[:-1]) / 2, np.arange(len(centres) - 1)
        bend = np.rad2deg(np.diff(bones[:, :3], axis=0) - steps * shared[:3]) / (OWN_DEG * np.sqrt(steps))
        slip = self._move(bones, upper + 1, discs) - self._move(bones, upper, discs) - steps * shared[3:]
        prior = np.concatenate([np.rad2deg(shared[:3]) / SHARED_DEG, shared[3:] / SHARED_MM])
        return np.concatenate([data.ravel(), bend.ravel(), (slip / (OWN_MM * np.sqrt(steps))).ravel(), prior])

    def _move(self, bones: Array, owner: NDArray[np.int64], points: Array) -> Array:
        centres = self.vertebrae.centres_mm[owner]
        turned = Rotation.from_rotvec(bones[owner, :3]).apply(points - centres) if len(owner) else points
        return np.asarray(turned + centres + bones[owner, 3:], dtype=np.float64)


def _surprise(residuals: Array, slopes: Array, weights: Array) -> float:
    """Minus twice the logarithm of the evidence for ``weights`` of the residuals, up to a constant.

    That of the linear problem (MacKay, Neural Computation 1992), which turns of a few degrees nearly make.
    """
    weighted, offset = weights[:, None] * slopes, weights * residuals
    step = np.linalg.lstsq(weighted, -offset, rcond=None)[0]
    cost = np.square(offset + weighted @ step).sum()
    return float(cost + np.linalg.slogdet(weighted.T @ weighted)[1] - 2 * np.log(weights).sum())
