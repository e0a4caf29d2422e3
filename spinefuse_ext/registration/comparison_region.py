"""Where two images are compared: tissue around the landmarks that both show, cut out of both at several smoothings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from spinefuse_ext.registration.models import PointMap
from spinefuse_ext.registration.mutual_information import Level
from spinefuse_ext.registration.resampling import to_itk_scalar
from spinefuse_ext.validation import SpinefuseError

Points = NDArray[np.float64]

#: Tissue this near to a landmark is compared. Chosen by trial on phantoms 200 to 209 out of 12, 18, 25, 35 and 45.
REACH_MM = 35.0
_SIGMAS_MM = (2.0, 1.0)
_SAMPLES = 20_000
_FEWEST = 1000
_AIR = 0.1  # of the range of values: what is darker, and not enclosed by tissue, is no tissue
_TAIL_PERCENT = 0.5  # darkest and brightest values share one bin: metal and a white frame would stretch the histogram


@dataclass(frozen=True)
class Cutout:
    """Part of an image: ``voxels`` ``(X, Y, Z)``, values clipped, and its ``(4, 4)`` RAS affine."""

    voxels: NDArray[np.float32]
    affine: Points

    def smoothed(self, sigma_mm: float) -> NDArray[np.float32]:
        return np.asarray(ndimage.gaussian_filter(self.voxels, sigma_mm / self.spacing_mm), dtype=np.float32)

    def places(self, points_mm: Points) -> Points:
        """Return voxel places of points ``(N, 3)`` in RAS mm."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_mm @ inverse[:3, :3].T + inverse[:3, 3], dtype=np.float64)

    @property
    def grid(self) -> MetaTensor:
        """The cutout as an image ``(1, X, Y, Z)``."""
        return _image(self.voxels, self.affine)

    @property
    def spacing_mm(self) -> Points:
        """Voxel sides ``(3,)``."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


@dataclass(frozen=True)
class Region:
    """``points`` ``(N, 3)`` RAS mm in fixed space at which both images show tissue, and a cutout of each."""

    fixed: Cutout
    moving: Cutout
    points: Points

    def levels(self) -> list[Level]:
        """Return the images smoothed by 2 and by 1 mm, as ITK images."""
        levels = []
        for sigma in _SIGMAS_MM:
            fixed, moving = (
                to_itk_scalar(_image(part.smoothed(sigma), part.affine)) for part in (self.fixed, self.moving)
            )
            levels.append(Level(fixed, moving, self.points))
        return levels


def compare_where(
    ct: MetaTensor, mr: MetaTensor, mapping: PointMap, around: Points | None, *, margin_mm: float, seed: int
) -> Region:
    """Choose up to 20 000 points of tissue at random, at most 35 mm from ``around`` ``(N, 3)`` where that is given.

    Tissue is what is brighter than a tenth of the range of values, or enclosed by that, in the CT and, seen through
    ``mapping``, in the MR. The cutouts reach ``margin_mm`` further.

    Raises:
        SpinefuseError: Fewer than 1000 voxels are left.
    """
    affine = ct.affine.numpy().astype(np.float64)
    box = _box(ct, around)
    voxels = np.argwhere(_tissue(ct, box)) + [part.start for part in box]
    rng = np.random.default_rng(seed)
    voxels = rng.permutation(voxels)[: 20 * _SAMPLES]
    points = _mm(voxels + rng.uniform(-0.5, 0.5, voxels.shape), affine)
    if around is not None:
        points = points[np.isfinite(cKDTree(around).query(points, distance_upper_bound=REACH_MM)[0])]
    points = points[: 2 * _SAMPLES]
    points = points[_shown(mapping(points), mr)][:_SAMPLES]
    if len(points) < _FEWEST:
        raise SpinefuseError(
            f"Only {len(points)} voxels of tissue are in both images, expected at least {_FEWEST} to refine on; check "
            "the landmarks, or register without --refine."
        )
    return region_at(ct, mr, mapping, points, margin_mm=margin_mm)


def region_at(ct: MetaTensor, mr: MetaTensor, mapping: PointMap, points: Points, *, margin_mm: float) -> Region:
    """Return the region of given points ``(N, 3)``, with cutouts of both images that reach ``margin_mm`` further."""
    return Region(_cutout(ct, points, margin_mm), _cutout(mr, mapping(points), margin_mm), points)


def _tissue(image: MetaTensor, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    voxels = image.as_tensor()[0].cpu().numpy()
    low, high = np.percentile(voxels, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    return np.asarray(ndimage.binary_fill_holes(voxels[box] > low + _AIR * (high - low)))


def _box(image: MetaTensor, around: Points | None) -> tuple[slice, ...]:
    if around is None:
        return tuple(slice(0, size) for size in image.shape[1:])
    return _around(image, around, REACH_MM)


def _around(image: MetaTensor, points: Points, margin_mm: float) -> tuple[slice, ...]:
    """Return the part of the grid that holds the points and ``margin_mm`` about them; never empty."""
    affine = image.affine.numpy().astype(np.float64)
    places, sizes = _voxel(points, affine), np.array(image.shape[1:])
    reach = margin_mm / np.linalg.norm(affine[:3, :3], axis=0)
    low = np.clip(np.floor(places.min(0) - reach), 0, sizes - 1).astype(int)
    high = np.clip(np.ceil(places.max(0) + reach) + 1, low + 1, sizes).astype(int)
    return tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))


def _cutout(image: MetaTensor, points: Points, margin_mm: float) -> Cutout:
    box = _around(image, points, margin_mm)
    affine = image.affine.numpy().astype(np.float64).copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    voxels = image.as_tensor()[0].cpu().numpy()[box]
    low, high = np.percentile(voxels, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    return Cutout(np.clip(voxels, low, high).astype(np.float32), affine)


def _shown(points: Points, image: MetaTensor) -> NDArray[np.bool_]:
    """Say which points lie on tissue of the image."""
    places = np.rint(_voxel(points, image.affine.numpy().astype(np.float64))).astype(int)
    inside = np.all((places >= 0) & (places < np.array(image.shape[1:])), axis=1)
    shown = np.zeros(len(places), dtype=bool)
    whole = tuple(slice(0, size) for size in image.shape[1:])
    shown[inside] = _tissue(image, whole)[tuple(places[inside].T)]
    return shown


def _image(voxels: NDArray[np.float32], affine: Points) -> MetaTensor:
    return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine))


def _voxel(points: Points, affine: Points) -> Points:
    inverse = np.linalg.inv(affine)
    return np.asarray(points @ inverse[:3, :3].T + inverse[:3, 3], dtype=np.float64)


def _mm(voxels: Points, affine: Points) -> Points:
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)
