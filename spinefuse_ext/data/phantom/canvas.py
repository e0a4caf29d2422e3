"""A regular grid in patient space on which tissues are painted one over the other with soft edges."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.data.phantom.shapes import Array, coverage

Box = tuple[slice, slice, slice]
Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Tissue:
    """Mean CT number (HU) and T2-weighted signal (0 to 1000) of a tissue."""

    hu: float
    t2: float


AIR = Tissue(-1000, 0)
SKIN = Tissue(15, 260)
FAT = Tissue(-100, 570)
MUSCLE = Tissue(52, 165)
FASCIA = Tissue(70, 55)
LIGAMENT = Tissue(65, 70)
INTERSPINOUS = Tissue(30, 260)
VESSEL = Tissue(46, 35)
VEIN = Tissue(40, 600)
KIDNEY = Tissue(34, 480)
CSF = Tissue(10, 900)
CORD = Tissue(38, 390)
ROOT = Tissue(30, 300)
CARTILAGE = Tissue(80, 480)
CORTEX = Tissue(1050, 15)
MARROW_WATER = Tissue(60, 280)
MARROW_FAT = Tissue(-40, 420)
ANNULUS = Tissue(105, 75)
NUCLEUS = Tissue(90, 740)
WORN_NUCLEUS = Tissue(88, 120)


@dataclass(frozen=True)
class Grid:
    """Voxel centres ``affine @ (i, j, k, 1)`` in RAS mm for indices below ``shape``."""

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    def slab(self, first: int, last: int) -> Grid:
        """The part with ``first <= k < last``."""
        affine = self.affine.copy()
        affine[:3, 3] += first * affine[:3, 2]
        return Grid(affine, (*self.shape[:2], last - first))

    def box(self, frame: NDArray[np.float64], low: Corner, high: Corner) -> Box | None:
        """Indices that enclose the box ``low`` to ``high`` (mm) of a frame, or None where the grid misses it."""
        corners = np.asarray([(*corner, 1.0) for corner in product(*zip(low, high, strict=True))])
        index = (np.linalg.inv(self.affine) @ frame @ corners.T)[:3]
        start = np.maximum(np.floor(index.min(axis=1)), 0).astype(int)
        stop = np.minimum(np.ceil(index.max(axis=1)) + 1, self.shape).astype(int)
        if np.any(start >= stop):
            return None
        x, y, z = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return x, y, z

    def local(self, frame: NDArray[np.float64], box: Box | None = None) -> tuple[Array, Array, Array]:
        """Coordinates (mm, float32) of the voxels of ``box`` in a frame."""
        box = box or (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2]))
        matrix = np.linalg.inv(frame) @ self.affine
        i, j, k = np.ogrid[box]
        x, y, z = ((r[0] * i + r[1] * j + (r[2] * k + r[3])).astype(np.float32) for r in matrix[:3])
        return x, y, z


@dataclass
class Canvas:
    """CT numbers, T2 signal, structure and vertebra number on one grid; begins as air.

    ``sharpness_mm`` is the width over which an edge fades. None is the coarsest spacing, so that thin shells leave no
    gaps between slices; less makes each slice a thin one.
    """

    grid: Grid
    sharpness_mm: float | None = None
    hu: Array = field(init=False)
    t2: Array = field(init=False)
    label: NDArray[np.uint8] = field(init=False)
    number: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.hu = np.full(self.grid.shape, AIR.hu, dtype=np.float32)
        self.t2 = np.full(self.grid.shape, AIR.t2, dtype=np.float32)
        self.label = np.zeros(self.grid.shape, dtype=np.uint8)
        self.number = np.zeros(self.grid.shape, dtype=np.uint8)

    @property
    def edge_mm(self) -> float:
        """Width over which an edge fades."""
        return float(self.grid.spacing_mm.max()) if self.sharpness_mm is None else self.sharpness_mm

    def paint(
        self,
        distance: Array,
        tissue: Tissue,
        *,
        box: Box | None = None,
        hu: Array | float = 0.0,
        t2: Array | float = 0.0,
    ) -> None:
        """Cover what lies inside ``distance`` with a tissue plus the deviations ``hu`` and ``t2`` (its texture)."""
        share = coverage(distance, self.edge_mm)
        where = box or (slice(None), slice(None), slice(None))
        for image, value in ((self.hu[where], tissue.hu + hu), (self.t2[where], tissue.t2 + t2)):
            image += share * (value - image)

    def mark(self, distance: Array, label: int, *, box: Box | None = None, number: int = 0) -> None:
        """Write a structure's label (and a vertebra's number) where at least half a voxel lies inside."""
        where = box or (slice(None), slice(None), slice(None))
        inside = distance <= 0
        self.label[where][inside] = label
        self.number[where][inside] = number
