"""Muscles, fat, skin, vessels, canal and nerves, in the coordinates of the straightened spine.

There the body centres lie on the z axis with z = 0 at the middle of the central disc, so each organ is one shape for
every posture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinefuse_ext.data.phantom import canvas as c
from spinefuse_ext.data.phantom.canvas import Canvas
from spinefuse_ext.data.phantom.shapes import Array, ellipse, ellipsoid
from spinefuse_ext.data.phantom.spine import Spine
from spinefuse_ext.data.phantom.texture import Texture

CANAL_LABEL = 3


@dataclass(frozen=True)
class Roots:
    """Cauda equina: start and exit position of each strand in the sac, and the heights between which it runs (mm)."""

    side: Array
    depth: Array
    exit_z: Array


def level_heights(spine: Spine) -> Array:
    """Height (mm) of every body centre along the straightened spine, from the sacrum upwards."""
    heights = np.asarray([bone.height_mm for bone in spine.vertebrae])
    discs = np.asarray([disc.height_mm for disc in spine.discs])
    centres = np.concatenate([[0.0], np.cumsum(heights[:-1] / 2 + discs + heights[1:] / 2)])
    middle = centres[spine.centre] + heights[spine.centre] / 2 + discs[spine.centre] / 2
    return centres - middle


def draw_roots(spine: Spine, rng: np.random.Generator) -> Roots:
    """Two to three strands per side for each level that the roots leave."""
    exits = np.repeat(np.concatenate([level_heights(spine)[:-3], level_heights(spine)[:1] - 30]), 5)
    side = np.sign(rng.normal(size=exits.size)) * rng.uniform(0.8, 1.2, exits.size)
    return Roots(side, rng.uniform(-1.0, 1.0, exits.size), exits)


def conus_height(spine: Spine) -> float:
    """Height of the cord's tip: the disc under L1, give or take the patient's offset."""
    names = [bone.name for bone in spine.vertebrae]
    place = names.index("L1")
    return float(level_heights(spine)[place] - spine.vertebrae[place].height_mm / 2 + spine.conus_mm)


def paint_back(canvas: Canvas, where: tuple[Array, Array, Array], spine: Spine, texture: Texture) -> None:
    """Skin, subcutaneous fat, fascia and the muscles behind and beside the spine; then vessels and kidneys."""
    x, y, z = where
    side, s = np.abs(x), spine.scale
    back = -spine.half_depth_mm
    furrow = 4.0 * np.exp(-((x / 14) ** 2))
    surface = back - 57 * s - spine.subcutaneous_mm + x * x / (2 * 190) + furrow - y
    canvas.paint(surface, c.SKIN)
    septa = 14 * np.maximum(texture(x, y, z, (5, 5, 9)) - 0.9, 0)
    canvas.paint(surface + 2.0, c.FAT, hu=septa, t2=-4 * septa)
    fibre = texture(x, y, z, (1.2, 1.2, 14))
    streak = np.clip((texture(x + 90, y, z, (1.9, 1.9, 20)) - 1.6 + 5 * spine.muscle_fat) * 0.55, 0, 0.9)
    hu = streak * (c.FAT.hu - c.MUSCLE.hu) + 3 * fibre
    t2 = streak * (c.FAT.t2 - c.MUSCLE.t2) + 14 * fibre
    for distance in _muscles(side, y, z, back, s):
        canvas.paint(distance - 0.6, c.FASCIA)
        canvas.paint(distance, c.MUSCLE, hu=hu, t2=t2)
    _paint_organs(canvas, where, spine)


def _muscles(side: Array, y: Array, z: Array, back: float, s: float) -> list[Array]:
    """Erector spinae, multifidus, quadratus lumborum and psoas; ``side`` is the distance from the mid-plane."""
    lower = np.clip((z + 100) / 200, 0, 1)
    psoas = 9 + 8 * np.clip((55 - z) / 75, 0, 1)
    tilted = (side - 50 * s) * 0.85 + (y - back + 9) * 0.5, (y - back + 9) * 0.85 - (side - 50 * s) * 0.5
    return [
        ellipse(side - (33 + 3 * lower) * s, y - back + (35 + 3 * lower) * s, (24 * s, 18.5 * s)),
        ellipse(side - 13.0 * s, y - back + 35 * s, ((14.5 - 3 * lower) * s, 18.5 * s)),
        ellipse(tilted[0], tilted[1], (17 * s, 7 * s)),
        ellipse(
            side - (23.5 + psoas * 0.85) * s, y - back - (9 + 0.25 * psoas) * s, (psoas * s, (10 + 0.65 * psoas) * s)
        ),
    ]


def great_vessels(where: tuple[Array, Array, Array], spine: Spine) -> tuple[Array, Array]:
    """Distance (mm) to the aorta on the left, which forks at L4, and to the inferior vena cava on the right."""
    x, y, z = where
    s = spine.scale
    fork, depth = _fork(z), y - spine.half_depth_mm - 11 * s
    spread = 16 * fork
    aorta, vein = (
        np.hypot(x - offset * s, depth) - radius * s
        for offset, radius in ((-9 - spread, 8.5 - 2.5 * fork), (12 + 0.8 * spread, 10.5 - 2.5 * fork))
    )
    return aorta, vein


def _fork(z: Array) -> Array:
    """0 above the fork of the great vessels, 1 where they have parted."""
    parted: Array = np.clip((-22 - z) / 40, 0, 1)
    return parted


def _paint_organs(canvas: Canvas, where: tuple[Array, Array, Array], spine: Spine) -> None:
    """Great vessels and kidneys."""
    x, y, z = where
    front, s = spine.half_depth_mm, spine.scale
    for distance in great_vessels(where, spine):
        canvas.paint(distance - 1.0, c.MUSCLE)
        canvas.paint(distance, c.VESSEL)
    canvas.paint(np.hypot(x + (9 + 16 * _fork(z)) * s, y - front - 11 * s) - 1, c.VESSEL)
    canvas.paint(ellipsoid((np.abs(x) - 66 * s, y - 6, z - 48), (23, 21, 52)), c.KIDNEY)


def canal_depth(spine: Spine, z: Array) -> Array:
    """Local y of the canal's middle at a height; it follows the sacrum backwards below the last body."""
    drop = np.maximum(level_heights(spine)[0] + 5 - z, 0)
    depth: Array = -spine.half_depth_mm - 6.5 * spine.scale - 0.18 * drop
    return depth


def paint_canal(canvas: Canvas, where: tuple[Array, Array, Array], spine: Spine, roots: Roots) -> None:
    """Ligaments between the arches, epidural fat, dural sac with CSF, cord down to the conus, and cauda equina."""
    x, y, z = where
    s = spine.scale
    depth = y - canal_depth(spine, z)
    canal = ellipse(x, depth, (11.3 * s, 8.2 * s))
    behind = -spine.half_depth_mm - 22 * s - y
    canvas.paint(np.maximum(np.maximum(np.abs(x) - 2.6, -behind), behind - 34 * s), c.INTERSPINOUS)
    canvas.paint(np.maximum(canal - 3.5, depth + 1.5), c.LIGAMENT)
    canvas.paint(canal, c.FAT)
    canvas.mark(canal, CANAL_LABEL)
    caudal = np.clip((z - level_heights(spine)[0] + 45) / 45, 0.02, 1)
    sac = ellipse(x, depth - 0.8, (8.6 * s * caudal**0.5, 6.9 * s * caudal**0.5))
    canvas.paint(sac - 0.5, c.LIGAMENT)
    canvas.paint(sac, c.CSF)
    near = np.nonzero(sac < 1.0)
    if near[0].size:
        _paint_nerves(canvas, near, (x[near], depth[near] - 0.8, z[near]), spine, roots)


def _paint_nerves(
    canvas: Canvas, near: tuple[Array, ...], inside: tuple[Array, Array, Array], spine: Spine, roots: Roots
) -> None:
    """Cord and strands at the voxels ``near`` the sac; ``inside`` are their coordinates from the sac's middle."""
    x, y, z = inside
    tip, s = conus_height(spine), spine.scale
    taper = np.clip((z - tip) / 22, 0, 1) ** 0.6
    cord = np.where(z > tip, ellipse(x, y + 0.6, (5.0 * s * taper + 0.05, 3.9 * s * taper + 0.05)), 9.0)
    nerves = np.full(x.shape, 9.0, dtype=np.float32)
    for side, depth, exit_z in zip(roots.side, roots.depth, roots.exit_z, strict=True):
        course = np.clip((tip + 12 - z) / (tip + 12 - exit_z), 0, 1)
        away_x = x - side * s * (1.0 + 5.6 * course**1.6)
        away_y = y + s * (2.9 + depth - 2.6 * course**3)
        strand = np.hypot(away_x, away_y) - 0.62
        nerves = np.minimum(nerves, np.where((z > exit_z) & (z < tip + 12), strand, 9.0))
    for distance, tissue in ((nerves, c.ROOT), (cord, c.CORD)):
        share = np.clip(0.5 - distance / canvas.edge_mm, 0, 1)
        for image, value in ((canvas.hu, tissue.hu), (canvas.t2, tissue.t2)):
            image[near] += share * (value - image[near])
