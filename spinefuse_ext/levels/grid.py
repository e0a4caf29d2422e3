"""Structures of a label volume on a grid that is fine enough to tell levels apart and no finer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spinefuse_ext.labels import STRUCTURES

Mask = NDArray[np.bool_]

_FINE_MM = 1.0
_PAD = 2
_EDGE_MM = 3.0


@dataclass(frozen=True)
class Structures:
    """Class masks ``(X, Y, Z)`` of one box of a volume; ``affine`` takes their indices to RAS mm.

    ``box`` and ``stride`` say which voxels of the whole volume, of the size ``shape``, they are.
    """

    name: str
    classes: NDArray[np.uint8]
    affine: NDArray[np.float64]
    box: tuple[slice, slice, slice]
    stride: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def vertebra(self) -> Mask:
        return self._mask("vertebra")

    @property
    def disc(self) -> Mask:
        return self._mask("disc")

    @property
    def canal(self) -> Mask:
        return self._mask("canal")

    @property
    def sacrum(self) -> Mask:
        return self._mask("sacrum")

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_ml(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def to_mm(self, places: NDArray[np.generic]) -> NDArray[np.float64]:
        """Indices ``(N, 3)`` -> RAS mm."""
        return np.asarray(places @ self.affine[:3, :3].T + self.affine[:3, 3], dtype=np.float64)

    def to_places(self, points_mm: NDArray[np.float64]) -> NDArray[np.int64]:
        """RAS mm ``(N, 3)`` -> the nearest indices, which may lie outside."""
        inverse = np.linalg.inv(self.affine)
        return np.rint(points_mm @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)

    def points_mm(self, mask: Mask) -> NDArray[np.float64]:
        """Voxel centres of a mask ``(N, 3)``, RAS mm."""
        return self.to_mm(np.argwhere(mask))

    def at_edge(self, point_mm: NDArray[np.float64]) -> bool:
        """Whether a point ``(3,)``, RAS mm, lies in the first or last planes of the volume, up or down."""
        axis = int(np.abs(self.affine[2, :3]).argmax())
        place = int(self.to_places(point_mm[None])[0, axis]) * self.stride[axis] + self.box[axis].start
        reach = max(1, round(_EDGE_MM / (self.spacing_mm[axis] / self.stride[axis])))
        return place < reach or place >= self.shape[axis] - reach

    def _mask(self, name: str) -> Mask:
        number = next(number for number, structure in STRUCTURES.items() if structure == name)
        return np.asarray(self.classes == number)


def structures_of(name: str, classes: NDArray[np.uint8], affine: NDArray[np.float64]) -> Structures | None:
    """Cut the box of all structures out of class numbers ``(X, Y, Z)``, every n-th voxel of it; None without any.

    n is as large along each axis as a spacing of at most 1 mm allows.
    """
    if not classes.any():
        return None
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    found = ndimage.find_objects((classes > 0).astype(np.uint8))[0]
    box = tuple(slice(max(part.start - _PAD, 0), part.stop + _PAD) for part in found)
    stride = tuple(max(1, int(_FINE_MM / step + 1e-6)) for step in spacing)
    cut = classes[tuple(slice(part.start, part.stop, step) for part, step in zip(box, stride, strict=True))]
    placed = affine.copy()
    placed[:3, 3] = affine[:3, :3] @ [part.start for part in box] + affine[:3, 3]
    placed[:3, :3] = affine[:3, :3] * stride
    a, b, c = box
    i, j, k = stride
    shape = (classes.shape[0], classes.shape[1], classes.shape[2])
    return Structures(name, np.ascontiguousarray(cut), placed, (a, b, c), (i, j, k), shape)


def on_whole(found: Structures, numbers: NDArray[np.uint16], classes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Carry numbers of the box to all voxels ``(X, Y, Z)`` of the volume that hold the same class.

    A voxel between those of the box takes the number of the nearest one of its class; 0 stays 0.
    """
    whole = np.zeros(classes.shape, np.uint16)
    if found.stride == (1, 1, 1):
        whole[found.box] = numbers
        return whole
    inside = classes[found.box]
    fine = numbers
    for axis, step in enumerate(found.stride):
        fine = np.repeat(fine, step, axis=axis)
    fine = fine[tuple(slice(0, size) for size in inside.shape)]
    coarse = found.classes
    for axis, step in enumerate(found.stride):
        coarse = np.repeat(coarse, step, axis=axis)
    coarse = coarse[tuple(slice(0, size) for size in inside.shape)]
    made = np.zeros(inside.shape, np.uint16)
    for value in np.unique(inside[inside > 0]):
        wanted, known = inside == value, coarse == value
        if not known.any():
            continue
        same = wanted & known
        made[same] = fine[same]
        rest = wanted & ~known
        if rest.any():
            nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
            made[rest] = fine[tuple(axis[rest] for axis in nearest)]
    whole[found.box] = made
    return whole
