"""How much a CT and an MR tell of each other around the bones at one map and at another, whatever their contrast."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from spinefuse_ext.registration.models import PointMap

Points = NDArray[np.float64]

#: Tissue this near to bone is compared: discs, canal and the muscles beside, which differ from level to level.
_REACH_MM = 15.0
_SMOOTH_MM, _POINTS, _FEWEST = 1.5, 12_000, 1_000
_BINS = 24
_BLOCK_MM, _DRAWS = 20.0, 40


class Gain(NamedTuple):
    """Mutual information in nats at one map and at a rival, over the points that both bring into the MR.

    ``errors``: the gain over its standard error, by drawing blocks of 20 mm anew.
    """

    one: float
    rival: float
    errors: float


class SharedInformation:
    """Compares maps of a CT to its MR, ``(1, X, Y, Z)`` each, at random points up to 15 mm from bone, drawn by a seed.

    Mutual information of values in bins that are equally full, so that neither noise nor bright fat decides.
    """

    def __init__(self, ct: MetaTensor, mr: MetaTensor, bone_mm: Points, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        points = rng.uniform(bone_mm.min(0) - _REACH_MM, bone_mm.max(0) + _REACH_MM, (6 * _POINTS, 3))
        near = np.isfinite(cKDTree(bone_mm[::5]).query(points, distance_upper_bound=_REACH_MM)[0])
        self.points = points[near][:_POINTS]
        self._ct, self._mr = _Smoothed(ct), _Smoothed(mr)
        self._values = self._ct(self.points)

    def values(self, mapping: PointMap) -> Points:
        """What the MR shows at each point, NaN outside it."""
        return self._mr(mapping(self.points))

    def compare(self, one: Points, rival: Points) -> Gain | None:
        """Compare two sets of ``values``; None where too few points lie in the MR under both maps."""
        known = np.isfinite(self._values) & np.isfinite(one) & np.isfinite(rival)
        if known.sum() < _FEWEST:
            return None
        fixed, moving = _ranked(self._values[known]), [_ranked(each[known]) for each in (one, rival)]
        blocks = np.unique(np.floor(self.points[known] / _BLOCK_MM), axis=0, return_inverse=True)[1].ravel()
        rng = np.random.default_rng(0)
        every = np.ones(len(fixed))
        shares = [_information(fixed, each, every) for each in moving]
        gains = []
        for _ in range(_DRAWS):
            drawn = np.bincount(rng.integers(0, blocks.max() + 1, blocks.max() + 1), minlength=blocks.max() + 1)
            weights = drawn[blocks].astype(float)
            gains.append(_information(fixed, moving[0], weights) - _information(fixed, moving[1], weights))
        return Gain(shares[0], shares[1], float((shares[0] - shares[1]) / max(float(np.std(gains)), 1e-9)))


class _Smoothed:
    """An image smoothed by 1.5 mm, read at points ``(N, 3)`` in RAS mm; NaN outside."""

    def __init__(self, image: MetaTensor) -> None:
        self._affine = image.affine.numpy().astype(np.float64)
        spacing = np.linalg.norm(self._affine[:3, :3], axis=0)
        voxels = image.as_tensor()[0].cpu().numpy().astype(np.float32)
        self._voxels = ndimage.gaussian_filter(voxels, _SMOOTH_MM / spacing)

    def __call__(self, points: Points) -> Points:
        inverse = np.linalg.inv(self._affine)
        places = points @ inverse[:3, :3].T + inverse[:3, 3]
        values = ndimage.map_coordinates(self._voxels, places.T, order=1, mode="nearest").astype(np.float64)
        outside = ((places < 0) | (places > np.array(self._voxels.shape) - 1)).any(axis=1)
        values[outside] = np.nan
        return np.asarray(values)


def _ranked(values: Points) -> NDArray[np.int64]:
    """The bin of each value, equally full."""
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return np.searchsorted(edges, values)


def _information(one: NDArray[np.int64], other: NDArray[np.int64], weights: Points) -> float:
    joint = np.bincount(one * _BINS + other, weights, minlength=_BINS**2).reshape(_BINS, _BINS) / weights.sum()
    alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    full = joint > 0
    return float((joint[full] * np.log(joint[full] / alone[full])).sum())
