"""The surface of one bone out of a volume of numbers: points on it, and the distance of any point from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

Array = NDArray[np.float64]

_GRID_MM = 1.0
_MARGIN_MM = 8.0
#: Takes the steps of voxels off a surface; the same width in both scans, so that both give way alike.
_SMOOTH_MM = 0.7
#: Where two labels meet, or the field ends, a surface is where labels were parted, not where bone ends.
_TOUCHING_MM, _BORDER_MM = 1.5, 2.0
MOST_POINTS = 1500


@dataclass(frozen=True)
class Numbered:
    """Numbers of bones ``(X, Y, Z)``, 0 where there is none, and the affine ``(4, 4)`` to RAS mm."""

    numbers: NDArray[np.integer]
    affine: Array

    @property
    def spacing_mm(self) -> Array:
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @cached_property
    def boxes(self) -> list[tuple[slice, slice, slice] | None]:
        """The box of each number from 1."""
        return list(ndimage.find_objects(np.asarray(self.numbers, dtype=np.int32)))

    def depth_mm(self, points: Array) -> Array:
        """How deep each of ``(N, 3)`` points lies in the field of view, mm; below 0 outside."""
        inverse = np.linalg.inv(self.affine)
        places = points @ inverse[:3, :3].T + inverse[:3, 3]
        last = np.array(self.numbers.shape) - 1
        inside = np.minimum(places, last - places) + 0.5
        return np.asarray((inside * self.spacing_mm).min(axis=1))


@dataclass(frozen=True)
class BoneSurface:
    """``points`` ``(N, 3)`` RAS mm spread over the surface of a bone, where it is bone that ends there.

    ``centre_mm`` is the mean of all voxels, ``voxels_mm`` ``(M, 3)`` are their centres. ``cut``: the share (0 to 1) of
    its voxels that lie at the border of the field.
    """

    points: Array
    voxels_mm: Array
    volume_ml: float
    cut: float
    field: Numbered
    _distances: NDArray[np.float32]
    _origin: Array

    @property
    def centre_mm(self) -> Array:
        return np.asarray(self.voxels_mm.mean(0))

    def distance(self, points: Array) -> tuple[Array, Array]:
        """``(N, 3)`` RAS mm -> mm from the surface ``(N,)``, below 0 inside, and its slope ``(N, 3)``.

        Beyond the box about the bone it is 8 mm without a slope. Outside the field of view both are NaN.
        """
        places = (points - self._origin) / _GRID_MM
        near = ((places >= 0) & (places <= np.array(self._distances.shape) - 1)).all(axis=1)
        values = np.tile([_MARGIN_MM, 0.0, 0.0, 0.0], (len(points), 1))
        for column, grid in enumerate((self._distances, *self._slopes)):
            values[near, column] = ndimage.map_coordinates(grid, places[near].T, order=1, mode="nearest")
        values[self.field.depth_mm(points) <= _BORDER_MM] = np.nan
        return values[:, 0], values[:, 1:]

    @cached_property
    def _slopes(self) -> list[NDArray[np.float32]]:
        return [np.asarray(slope, dtype=np.float32) for slope in np.gradient(self._distances, _GRID_MM)]


def bone_surface(volume: Numbered, number: int, *, seed: int = 0) -> BoneSurface | None:
    """Return the surface of the bone with a number, None where there is none of it or too little for a surface.

    The distance to its voxels (a Euclidean one, which follows anisotropic voxels) is read on a grid of 1 mm along the
    patient's axes, where marching cubes gives up to 1500 points, drawn by ``seed``.
    """
    box = volume.boxes[number - 1] if 0 < number <= len(volume.boxes) else None
    if box is None:
        return None
    spacing = volume.spacing_mm
    reach = np.ceil(_MARGIN_MM / spacing).astype(int) + 1
    wide = tuple(slice(max(part.start - step, 0), part.stop + step) for part, step in zip(box, reach, strict=True))
    part = volume.numbers[wide]
    mask = part == number
    start = np.array([each.start for each in wide])
    signed = _signed(mask, spacing)
    inner = np.argwhere(mask) + start
    voxels = _mm(inner, volume.affine)
    origin, shape = voxels.min(0) - _MARGIN_MM, np.ceil((np.ptp(voxels, axis=0) + 2 * _MARGIN_MM) / _GRID_MM) + 1
    inverse = np.linalg.inv(volume.affine)
    grid = np.indices(tuple(shape.astype(int))).reshape(3, -1).T * _GRID_MM + origin
    places = grid @ inverse[:3, :3].T + inverse[:3, 3] - start
    read = ndimage.map_coordinates(signed, places.T, order=1, mode="nearest").reshape(shape.astype(int))
    distances = np.asarray(ndimage.gaussian_filter(read, _SMOOTH_MM / _GRID_MM), dtype=np.float32)
    if not distances.min() < 0 < distances.max():
        return None
    corners = np.asarray(marching_cubes(distances, 0.0)[0], dtype=np.float64) * _GRID_MM + origin  # type: ignore[no-untyped-call]
    others = np.isin(part, (0, number), invert=True)
    free = np.ones(len(corners), bool)
    if others.any():
        to_others = ndimage.distance_transform_edt(~others, sampling=spacing)
        beside = corners @ inverse[:3, :3].T + inverse[:3, 3] - start
        free = ndimage.map_coordinates(to_others, beside.T, order=1, mode="nearest") > _TOUCHING_MM
    free &= volume.depth_mm(corners) > _BORDER_MM
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(free))[:MOST_POINTS]
    if len(chosen) < 6:
        return None
    cut = float((volume.depth_mm(voxels) < _BORDER_MM).mean())
    volume_ml = len(inner) * float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    return BoneSurface(corners[chosen], voxels, volume_ml, cut, volume, distances, origin)


def _signed(mask: NDArray[np.bool_], spacing: Array) -> Array:
    """Distance to the nearest voxel on the other side: 0 half way between two of them."""
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    return np.asarray(outside - inside)


def _mm(places: NDArray[np.generic], affine: Array) -> Array:
    return np.asarray(places @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)
