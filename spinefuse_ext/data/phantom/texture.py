"""Smooth random patterns that are fixed to the anatomy, so that every scan of a patient shows the same ones."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from spinefuse_ext.data.phantom.shapes import Array, Point


class Texture:
    """Zero-mean, unit-variance noise over patient coordinates; repeats every 48 grains."""

    def __init__(self, rng: np.random.Generator, size: int = 48) -> None:
        noise = gaussian_filter(rng.normal(size=(size, size, size)), 0.8, mode="wrap")
        self._lattice = (noise / noise.std()).astype(np.float32)

    def __call__(self, x: Array, y: Array, z: Array, grain_mm: Point) -> Array:
        """Coordinates in mm of any shape -> noise of that shape; ``grain_mm``: size of a grain along each axis."""
        where = np.stack([np.asarray(axis / size) for axis, size in zip((x, y, z), grain_mm, strict=True)])
        values: Array = map_coordinates(self._lattice, where, order=1, mode="grid-wrap", output=np.float32)
        return values
