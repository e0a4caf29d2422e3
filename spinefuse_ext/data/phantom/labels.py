"""The labels of a phantom without its images, which take most of the time: for measures of labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.data.phantom.anatomy import draw_anatomy, paint
from spinefuse_ext.data.phantom.canvas import Box, Canvas, Tissue
from spinefuse_ext.data.phantom.case import check_request
from spinefuse_ext.data.phantom.posture import Motion, move, stand
from spinefuse_ext.data.phantom.scanner import as_image, ct_grid, mr_grid
from spinefuse_ext.data.phantom.shapes import Array, Point
from spinefuse_ext.data.phantom.spine import Spine, draw_spine
from spinefuse_ext.data.phantom.texture import Texture


@dataclass(frozen=True)
class PhantomLabels:
    """Structures and vertebra numbers ``(1, X, Y, Z)`` of a patient in the CT's posture and in the MR's.

    Both lie on one axial grid, or on those of the two scanners. ``motion`` takes a point of the first posture to the
    second, RAS mm.
    """

    spine: Spine
    label: MetaTensor
    vertebrae: MetaTensor
    moved_label: MetaTensor
    moved_vertebrae: MetaTensor
    motion: Motion


def make_phantom_labels(
    seed: int,
    *,
    size_mm: Sequence[float] = (120.0, 135.0, 210.0),
    spacing_mm: float = 1.5,
    levels: int | None = None,
    motion: float = 1.0,
    scanned: bool = False,
) -> PhantomLabels:
    """Make the labels of the patient that ``make_phantom`` makes of the same seed.

    They lie on isotropic voxels; ``scanned`` takes the grids of the CT and of the MR that ``make_phantom`` makes, axial
    and sagittal with thick slices. ``motion`` scales the change of posture.

    Raises:
        ConfigError: for a size, spacing or level count that there cannot be.
    """
    check_request(size_mm, spacing_mm, levels)
    traits, detail, posing, ct_noise, mr_noise, _ = np.random.default_rng(seed).spawn(6)
    spine = draw_spine(traits, levels=levels)
    anatomy = replace(draw_anatomy(spine, detail), texture=_Even())
    way = Motion(spine, stand(spine), move(spine, posing, motion))
    slices = float(ct_noise.uniform(1.0, 1.5)) * spacing_mm if scanned else spacing_mm
    grids = [ct_grid(size_mm, spacing_mm, slices)] * 2
    if scanned:
        grids[1] = mr_grid(size_mm, spacing_mm, way(np.zeros((1, 3)))[0], mr_noise)
    postures = zip((way.fixed, way.moved), grids, strict=True)
    fixed, moved = (paint(anatomy, posture, grid, kind=_LabelCanvas) for posture, grid in postures)
    return PhantomLabels(
        spine,
        as_image(fixed.label, grids[0]),
        as_image(fixed.number, grids[0]),
        as_image(moved.label, grids[1]),
        as_image(moved.number, grids[1]),
        way,
    )


class _LabelCanvas(Canvas):
    """A canvas that takes labels and no tissues."""

    def paint(
        self,
        distance: Array,
        tissue: Tissue,
        *,
        box: Box | None = None,
        hu: Array | float = 0.0,
        t2: Array | float = 0.0,
    ) -> None:
        return


class _Even(Texture):
    """No pattern at all."""

    def __init__(self) -> None:
        return

    def __call__(self, x: Array, y: Array, z: Array, grain_mm: Point) -> Array:
        flat: NDArray[np.float32] = np.zeros((1, 1, 1), np.float32)
        return flat
