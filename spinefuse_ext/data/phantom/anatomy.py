"""One patient's anatomy, painted on any grid and in any posture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinefuse_ext.data.phantom import canvas as c
from spinefuse_ext.data.phantom.canvas import Box, Canvas, Grid, Tissue
from spinefuse_ext.data.phantom.posture import Posture
from spinefuse_ext.data.phantom.shapes import Array, ellipse, ellipsoid, smooth_max, smooth_min
from spinefuse_ext.data.phantom.soft_tissue import Roots, draw_roots, level_heights, paint_back, paint_canal
from spinefuse_ext.data.phantom.spine import Spine, Vertebra
from spinefuse_ext.data.phantom.texture import Texture
from spinefuse_ext.data.phantom.vertebra import Where, arch_distance, body_distance, endplate_height, section_distance

VERTEBRA_LABEL, DISC_LABEL, SACRUM_LABEL = 1, 2, 4
_SLAB = 12


@dataclass(frozen=True)
class Anatomy:
    """A spine with the patterns and nerve courses that every scan of the patient shares."""

    spine: Spine
    texture: Texture
    roots: Roots


def draw_anatomy(spine: Spine, rng: np.random.Generator) -> Anatomy:
    """Add the random detail of one patient to the sizes of a spine."""
    return Anatomy(spine, Texture(rng), draw_roots(spine, rng))


def paint(
    anatomy: Anatomy, posture: Posture, grid: Grid, sharpness_mm: float | None = None, kind: type[Canvas] = Canvas
) -> Canvas:
    """Tissues of a posture on a grid; works in slabs so that memory stays small. ``sharpness_mm``: see ``Canvas``."""
    whole = kind(grid, sharpness_mm)
    for first in range(0, grid.shape[2], _SLAB):
        last = min(first + _SLAB, grid.shape[2])
        part = kind(grid.slab(first, last), sharpness_mm)
        _paint_slab(part, anatomy, posture)
        for image, piece in zip(
            (whole.hu, whole.t2, whole.label, whole.number), (part.hu, part.t2, part.label, part.number), strict=True
        ):
            image[..., first:last] = piece
    return whole


def _paint_slab(canvas: Canvas, anatomy: Anatomy, posture: Posture) -> None:
    spine = anatomy.spine
    local = [canvas.grid.local(frame) for frame in posture.frames]
    heights = np.stack([z for _, _, z in local])
    paint_back(canvas, _straighten(local, posture.blend_widely(heights), spine), spine, anatomy.texture)
    paint_canal(canvas, _straighten(local, posture.blend(heights), spine), spine, anatomy.roots)
    for bone, frame in zip(spine.vertebrae, posture.frames, strict=True):
        _paint_ganglia(canvas, bone, frame)
    for place in range(len(spine.discs)):
        _paint_disc(canvas, anatomy, posture, place)
    for bone, frame in zip(spine.vertebrae, posture.frames, strict=True):
        _paint_bone(canvas, anatomy, bone, frame)


def straightened(canvas: Canvas, anatomy: Anatomy, posture: Posture) -> Where:
    """Coordinates (mm) of every voxel along the straightened spine: right, anterior, and up from the central disc."""
    local = [canvas.grid.local(frame) for frame in posture.frames]
    heights = np.stack([z for _, _, z in local])
    return _straighten(local, posture.blend_widely(heights), anatomy.spine)


def _straighten(local: list[Where], shares: Array, spine: Spine) -> Where:
    """Coordinates of every voxel along the straightened spine: each level's own frame, in the given shares."""
    heights = level_heights(spine).astype(np.float32)
    x = sum(share * where[0] for share, where in zip(shares, local, strict=True))
    y = sum(share * where[1] for share, where in zip(shares, local, strict=True))
    z = sum(share * (where[2] + height) for share, where, height in zip(shares, local, heights, strict=True))
    return np.asarray(x), np.asarray(y), np.asarray(z)


def _paint_ganglia(canvas: Canvas, bone: Vertebra, frame: Array) -> None:
    """The pair of spinal ganglia that leaves under a vertebra's pedicles."""
    back, half = -bone.depth_mm / 2, bone.height_mm / 2
    box = canvas.grid.box(frame, (-30, back - 14, -half - 8), (30, back + 10, half))
    if box is None or bone.is_sacrum:
        return
    x, y, z = canvas.grid.local(frame, box)
    side = np.abs(x) - bone.width_mm * 0.36
    canvas.paint(ellipsoid((side, y - back + 3.5 + 0.25 * side, z + 0.32 * half), (7.0, 2.7, 2.9)), c.ROOT, box=box)


def _paint_disc(canvas: Canvas, anatomy: Anatomy, posture: Posture, place: int) -> None:
    """Annulus and nucleus between two endplates; a worn disc bulges, darkens in T2 and loses its nucleus."""
    lower, upper = anatomy.spine.vertebrae[place : place + 2]
    disc, frame = anatomy.spine.discs[place], posture.frames[place]
    reach = lower.width_mm / 2 + 5
    box = canvas.grid.box(frame, (-reach, -reach, 0), (reach, reach, lower.height_mm / 2 + disc.height_mm + 12))
    if box is None:
        return
    (x0, y0, z0), (x1, y1, z1) = (canvas.grid.local(each, box) for each in posture.frames[place : place + 2])
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    floor = z0 - endplate_height(lower, x0, y0, 1)
    ceiling = endplate_height(upper, x1, y1, -1) - z1
    middle = (floor - ceiling) / 2
    tall = np.maximum(floor + ceiling, 0.5)
    girth = 1.0 + 0.07 * disc.degeneration + 0.02 * (1 - (2 * middle / tall) ** 2)
    outline = section_distance(lower, x, y - 2.0 * disc.degeneration * (y < 0), girth)
    solid = np.maximum(outline, np.maximum(-floor - 1.5, -ceiling - 1.5))
    rings = 3 * np.sin(outline * 1.6)
    canvas.paint(solid, c.ANNULUS, box=box, hu=rings, t2=5 * rings)
    canvas.mark(solid, DISC_LABEL, box=box)
    half = (0.36 * lower.width_mm, 0.335 * lower.depth_mm)
    core = smooth_max(ellipse(x, y + 1.0, half), np.abs(middle) - 0.42 * tall, 5.0)
    grain = anatomy.texture(x, y, middle + 40 * place, (3, 3, 2))
    canvas.paint(core, _nucleus(disc.degeneration), box=box, hu=3 * grain, t2=25 * (1 - disc.degeneration) * grain)
    cleft = smooth_max(ellipse(x, y + 1.0, (0.8 * half[0], 0.8 * half[1])), np.abs(middle) - 0.35, 1.0)
    canvas.paint(cleft, Tissue(92, 0.6 * _nucleus(disc.degeneration).t2), box=box)


def _nucleus(degeneration: float) -> Tissue:
    """From a bright, watery nucleus to a dark, dry one."""
    water = (1 - degeneration) ** 1.5
    hu = c.WORN_NUCLEUS.hu + water * (c.NUCLEUS.hu - c.WORN_NUCLEUS.hu)
    return Tissue(hu, c.WORN_NUCLEUS.t2 + water * (c.NUCLEUS.t2 - c.WORN_NUCLEUS.t2))


def _paint_bone(canvas: Canvas, anatomy: Anatomy, bone: Vertebra, frame: Array) -> None:
    """Cortical shell (thin on the body, thick on the arch), trabecular marrow and the basivertebral vein."""
    reach = max(bone.reach_mm, 30.0) + (16 if bone.is_sacrum else 4)
    low = (-reach, -bone.depth_mm / 2 - 62, -85.0 if bone.is_sacrum else -40.0)
    box = canvas.grid.box(frame, low, (reach, bone.depth_mm / 2 + 6, bone.height_mm / 2 + 14))
    if box is None:
        return
    where = canvas.grid.local(frame, box)
    body, arch = body_distance(bone, where), arch_distance(bone, where)
    solid = smooth_min(body, arch, 3.0)
    canvas.paint(solid, c.CORTEX, box=box)
    label = SACRUM_LABEL if bone.is_sacrum else VERTEBRA_LABEL
    canvas.mark(solid, label, box=box, number=bone.number)
    shell = 1.0 + 0.5 * np.clip((body - arch) / 4 + 0.5, 0, 1)
    _paint_marrow(canvas, anatomy, bone, box=box, where=where, distance=solid + shell)


def _paint_marrow(canvas: Canvas, anatomy: Anatomy, bone: Vertebra, *, box: Box, where: Where, distance: Array) -> None:
    """Trabecular bone: coarse vertical struts, denser below the endplates, and the basivertebral vein behind."""
    x, y, z = where
    spine = anatomy.spine
    strut = anatomy.texture(x + 11 * bone.number, y, z, (1.5, 1.5, 3.0))
    patch = anatomy.texture(x, y + 17 * bone.number, z, (5, 5, 5))
    dense = np.exp(-np.clip(bone.height_mm / 2 - np.abs(z), 0, 20) / 2.5)
    fat = np.clip(spine.marrow_fat + 0.12 * patch - 0.2 * dense, 0, 1)
    t2 = fat * (c.MARROW_FAT.t2 - c.MARROW_WATER.t2) - 14 * strut
    canvas.paint(
        distance, Tissue(spine.bone_hu, c.MARROW_WATER.t2), box=box, hu=34 * strut + 12 * patch + 60 * dense, t2=t2
    )
    vein = ellipsoid((x, y + bone.depth_mm / 2 - 2.5, z), (4.5, 7.5, 1.6))
    canvas.paint(np.maximum(vein, -bone.depth_mm / 2 + 1 - y), c.VEIN, box=box)
