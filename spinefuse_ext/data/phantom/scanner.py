"""The two scanners: grids, and what acquisition does to the painted anatomy (blur, noise, coil shading)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from spinefuse_ext.data.phantom.anatomy import Anatomy, paint
from spinefuse_ext.data.phantom.canvas import Canvas, Grid
from spinefuse_ext.data.phantom.posture import Posture, rigid
from spinefuse_ext.data.phantom.shapes import Array
from spinefuse_ext.enums import PhantomStyle

_SUBSLICES = 3
#: Columns run towards posterior, rows towards the feet, slices from left to right, as sagittal MR is stored.
_SAGITTAL = np.asarray([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Scanners:
    """What distinguishes the CT and the MR scanner of one hospital from those of another.

    Args:
        noise_hu: standard deviation of the CT noise in HU.
        noise_t2: of the MR noise, in units of a signal from 0 to 1000.
        contrast: exponent of the MR signal as a part of 1000; above 1 all but the brightest tissue gets darker.
        shading: strength of the coil shading, 1 as usual.
    """

    noise_hu: float = 16.0
    noise_t2: float = 16.0
    contrast: float = 1.0
    shading: float = 1.0

    def tone(self, signal: Array) -> Array:
        """MR signal 0 to 1000 -> the same range with this contrast."""
        if self.contrast == 1:
            return signal
        toned: Array = 1000 * np.clip(signal / 1000, 0, 1) ** np.float32(self.contrast)
        return toned


SCANNERS: Mapping[PhantomStyle, Scanners] = {
    PhantomStyle.STANDARD: Scanners(),
    PhantomStyle.NOISY: Scanners(noise_hu=48.0, noise_t2=64.0, shading=2.0),
    PhantomStyle.DARK: Scanners(contrast=2.2),
    PhantomStyle.BRIGHT: Scanners(noise_hu=24.0, contrast=0.4, shading=3.0),
}


def ct_grid(size_mm: Sequence[float], spacing_mm: float, slice_mm: float) -> Grid:
    """Axial grid in RAS, centred on the origin; ``slice_mm`` apart along z."""
    return _centred(np.eye(3), np.asarray(size_mm), np.asarray([spacing_mm, spacing_mm, slice_mm]), np.zeros(3))


def mr_grid(size_mm: Sequence[float], spacing_mm: float, centre_mm: Array, rng: np.random.Generator) -> Grid:
    """Sagittal grid, tilted by a few degrees; 0.8 times the spacing in-plane and 3 to 4 times across."""
    tilt = rigid(angles_deg=tuple(rng.uniform(-4, 4, 3)))[:3, :3]
    spacing = spacing_mm * np.asarray([0.8, 0.8, float(rng.uniform(3.0, 4.0))])
    size = 1.12 * np.abs(_SAGITTAL.T) @ np.asarray(size_mm)
    return _centred(tilt @ _SAGITTAL, size, spacing, centre_mm)


def _centred(axes: Array, size_mm: Array, spacing_mm: Array, centre_mm: Array) -> Grid:
    count = np.maximum(np.rint(size_mm / spacing_mm), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((count - 1) / 2)
    return Grid(affine, (int(count[0]), int(count[1]), int(count[2])))


def acquire_ct(canvas: Canvas, rng: np.random.Generator, scanners: Scanners) -> MetaTensor:
    """CT of a painted grid: ``(1, X, Y, Z)`` int16 HU with the blur and the correlated noise of a reconstruction."""
    sharp = gaussian_filter(canvas.hu, 0.5)
    noise = gaussian_filter(rng.normal(size=sharp.shape).astype(np.float32), (0.7, 0.7, 0.4))
    noisy = sharp + noise * (scanners.noise_hu / noise.std())
    return as_image(np.clip(np.rint(noisy), -1024, 3071).astype(np.int16), canvas.grid)


def clean_mr(canvas: Canvas, scanners: Scanners) -> MetaTensor:
    """T2-weighted signal of a painted grid, ``(1, X, Y, Z)`` int16 0 to 1000, without noise or shading."""
    return as_image(np.rint(gaussian_filter(scanners.tone(canvas.t2), 0.5)).astype(np.int16), canvas.grid)


def acquire_mr(
    anatomy: Anatomy, posture: Posture, grid: Grid, rng: np.random.Generator, scanners: Scanners
) -> MetaTensor:
    """MR of a posture: ``(1, X, Y, Z)`` int16, thick slices, surface-coil shading and Rician noise."""
    signal = scanners.tone(_thick_slices(anatomy, posture, grid))
    signal = gaussian_filter(signal, (0.5, 0.5, 0)) * _coil(grid, rng, scanners.shading)
    real, imaginary = rng.normal(0, scanners.noise_t2, (2, *grid.shape)).astype(np.float32)
    return as_image(np.rint(np.hypot(signal + real, imaginary)).astype(np.int16), grid)


def _thick_slices(anatomy: Anatomy, posture: Posture, grid: Grid) -> Array:
    """Mean over sub-slices, so that a slice holds all that its thickness covers."""
    affine = grid.affine.copy()
    affine[:3, 2] /= _SUBSLICES
    affine[:3, 3] -= affine[:3, 2] * (_SUBSLICES - 1) / 2
    fine = Grid(affine, (*grid.shape[:2], grid.shape[2] * _SUBSLICES))
    signal: Array = paint(anatomy, posture, fine).t2.reshape(*grid.shape, _SUBSLICES).mean(axis=-1)
    return signal


def _coil(grid: Grid, rng: np.random.Generator, strength: float) -> NDArray[np.float32]:
    """Sensitivity of a spine coil over the grid, 1 on average: brighter behind, and uneven from head to feet."""
    along = [np.linspace(-1, 1, count, dtype=np.float32) for count in grid.shape]
    posterior, inferior, lateral = np.meshgrid(*along, indexing="ij", sparse=True)
    near, slope, bow, side = rng.uniform([0.15, -0.1, -0.3, -0.1], [0.3, 0.1, -0.1, 0.1])
    field = np.exp(np.float32(strength) * (near * posterior + slope * inferior + bow * inferior**2 + side * lateral))
    shading: NDArray[np.float32] = (field / field.mean()).astype(np.float32)
    return shading


def as_image(values: NDArray[np.generic], grid: Grid) -> MetaTensor:
    """``(X, Y, Z)`` values -> ``(1, X, Y, Z)`` image on the grid, affine in RAS."""
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(values[None])), affine=torch.as_tensor(grid.affine.copy()))
