"""What lies around the spine in a whole field of view: body wall, bowel, lungs, vessels, ribs, pelvis, arms, table.

A network that learns from the spine alone calls a hip a vertebra and a loop of bowel a disc. These organs are rough:
right in place, size and grey level, drawn anew for each patient, and never over the spine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spinefuse_ext.data.phantom import canvas as c
from spinefuse_ext.data.phantom.anatomy import Anatomy, straightened
from spinefuse_ext.data.phantom.canvas import Canvas, Tissue
from spinefuse_ext.data.phantom.posture import Posture
from spinefuse_ext.data.phantom.shapes import Array, Point, capsule, ellipse, ellipsoid, smooth_min
from spinefuse_ext.data.phantom.soft_tissue import great_vessels, level_heights
from spinefuse_ext.data.phantom.vertebra import Where

GAS = Tissue(-960, 5)
FLUID = Tissue(15, 760)
FAECES = Tissue(20, 240)
CONTRAST = Tissue(420, 120)
WALL = Tissue(45, 330)
ORGAN = Tissue(58, 260)
LUNG = Tissue(-840, 25)
PLAQUE = Tissue(750, 15)
METAL = Tissue(2800, 0)
TABLE = Tissue(-250, 0)
_FAR = 99.0


@dataclass(frozen=True)
class Body:
    """Sizes of a trunk in mm about the straightened spine (x right, y anterior of the bodies' centre)."""

    front: float
    half_width: float
    fat: float
    muscle: float


def draw_body(anatomy: Anatomy, rng: np.random.Generator) -> Body:
    """From lean to obese."""
    girth = float(rng.uniform(0, 1))
    return Body(
        front=70 + 90 * girth + float(rng.normal(0, 8)),
        half_width=(130 + 55 * girth) * anatomy.spine.scale,
        fat=float(rng.uniform(6, 12)) + 28 * girth,
        muscle=float(rng.uniform(6, 14)),
    )


def paint_surroundings(canvas: Canvas, anatomy: Anatomy, posture: Posture, rng: np.random.Generator) -> None:
    """Paint the surroundings into a canvas that holds the spine already; labels are left as they are."""
    where = straightened(canvas, anatomy, posture)
    body = draw_body(anatomy, rng)
    spine_free = np.where(_near_spine(where, anatomy), _FAR, -_FAR).astype(np.float32)
    _paint_cavity(canvas, anatomy, where, body, spine_free=spine_free, rng=rng)
    inner, vessels = rng.spawn(2)
    _paint_lungs(canvas, anatomy, where, body, inner)
    _paint_vessels(canvas, anatomy, where, vessels)
    bones = [*_ribs(anatomy, rng), *_pelvis(rng)]
    frames = {bone.name: frame for bone, frame in zip(anatomy.spine.vertebrae, posture.frames, strict=True)}
    for name, rods in bones:
        if name in frames:
            _paint_rods(canvas, frames[name], rods, anatomy.spine.bone_hu)
    _paint_outside(canvas, where, body, rng)


def _near_spine(where: Where, anatomy: Anatomy) -> Array:
    """Spine, its muscles and great vessels: what the cavity must not cover."""
    x, y, _ = where
    front, s = anatomy.spine.half_depth_mm, anatomy.spine.scale
    vessels = (np.abs(x) < 30 * s) & (y < front + 24 * s)
    psoas = (np.abs(x) < 60 * s) & (y < front - 4)
    return vessels | psoas | (y < -front + 6)


def _paint_cavity(
    canvas: Canvas, anatomy: Anatomy, where: Where, body: Body, *, spine_free: Array, rng: np.random.Generator
) -> None:
    """Fat of the cavity, muscle of its wall, and organs: loops with gas, fluid, contrast or faeces, solid ones."""
    x, y, z = where
    middle, half = body.front / 2, body.front / 2 + anatomy.spine.half_depth_mm
    wall = ellipse(x, y - middle * 0.6, (body.half_width - body.fat, half + 0.4 * middle - body.fat))
    canvas.paint(np.maximum(np.abs(wall) - body.muscle, spine_free), c.MUSCLE)
    for _ in range(int(rng.integers(8, 26))):
        start = np.asarray([rng.uniform(-90, 90), rng.uniform(25, body.front), rng.uniform(z.min(), z.max())])
        end = start + rng.normal(0, 1, 3) * (30, 15, 30)
        radius = float(rng.uniform(5, 26))
        tube = capsule(where, _point(start), _point(end), radius=(radius, radius * float(rng.uniform(0.7, 1.2))))
        inside = np.maximum(np.maximum(tube, wall + body.muscle), spine_free)
        canvas.paint(inside - 2.0, WALL)
        content = (GAS, FLUID, FAECES, CONTRAST, ORGAN, c.KIDNEY)[
            int(rng.choice(6, p=[0.2, 0.15, 0.2, 0.1, 0.25, 0.1]))
        ]
        grain = anatomy.texture(x + start[0], y, z, (4, 4, 4)) if content is FAECES else 0.0
        canvas.paint(inside, content, hu=150 * np.minimum(grain, 0), t2=80 * np.asarray(grain))


def _paint_lungs(canvas: Canvas, anatomy: Anatomy, where: Where, body: Body, rng: np.random.Generator) -> None:
    """Lungs above the diaphragm, which stands higher in front, beside and before the thoracic spine."""
    x, y, z = where
    spine, s = anatomy.spine, anatomy.spine.scale
    names = [bone.name for bone in spine.vertebrae]
    base = level_heights(spine)[names.index("T12")] + float(rng.uniform(-15, 30))
    diaphragm = base + float(rng.uniform(0.3, 0.8)) * np.clip(y + 20, 0, 70)
    middle = 0.3 * body.front
    cage = ellipse(x, y - middle, (body.half_width - body.fat - body.muscle, 0.7 * body.front - body.fat))
    mediastinum = np.where((np.abs(x) < 27 * s) & (y < spine.half_depth_mm + 26 * s), _FAR, -_FAR)
    muscles = -spine.half_depth_mm - 14 * s - y
    inside = np.maximum.reduce([cage, diaphragm - z, mediastinum, muscles])
    solid = np.where(canvas.label > 0, _FAR, inside).astype(np.float32)
    canvas.paint(solid, LUNG, hu=60 * anatomy.texture(x, y + 60, z, (3, 3, 3)))


def _paint_vessels(canvas: Canvas, anatomy: Anatomy, where: Where, rng: np.random.Generator) -> None:
    """In some patients contrast in the great vessels, in some plaques of lime in the wall of the aorta."""
    spine_free = np.where(canvas.label > 0, _FAR, -_FAR).astype(np.float32)
    vessels = great_vessels(where, anatomy.spine)
    if rng.random() < 0.4:
        for distance, most in zip(vessels, (380, 220), strict=True):
            canvas.paint(np.maximum(distance, spine_free), Tissue(float(rng.uniform(90, most)), 35))
    if rng.random() < 0.5:
        patches = anatomy.texture(where[0] + 30, where[1], where[2], (7, 7, 10))
        wall = np.maximum(np.abs(vessels[0]) - float(rng.uniform(0.8, 2.0)), float(rng.uniform(0, 1)) - patches)
        canvas.paint(np.maximum(wall, spine_free), PLAQUE)


Rods = list[tuple[Point, Point, tuple[float, float], Point]]


def _ribs(anatomy: Anatomy, rng: np.random.Generator) -> list[tuple[str, Rods]]:
    """A chain of rods for each rib: from the joint back and outwards, then round the trunk forwards and down."""
    ribs = []
    for bone in anatomy.spine.vertebrae:
        if not bone.name.startswith("T") or (bone.name == "T12" and rng.random() < 0.3):
            continue
        half, back = bone.width_mm / 2, -bone.depth_mm / 2
        reach = {"T12": 0.5, "T11": 0.8}.get(bone.name, 1.0)
        drop = float(rng.uniform(14, 26))
        course = [(half + 2, back - 1, 5), (half + 22, back - 20, -2), (half + 55, back - 22, -drop)]
        if reach > 0.6:
            course.append((half + 90, back + 15, -2 * drop))
        if reach > 0.9:
            course += [(half + 100, back + 70, -3.2 * drop), (half + 80, back + 115, -3.8 * drop)]
        rods: Rods = [(start, end, (4.5, 4.5), (0.75, 0.75, 1.6)) for start, end in pairwise(course)]
        ribs.append((bone.name, rods))
    return ribs


def _pelvis(rng: np.random.Generator) -> list[tuple[str, Rods]]:
    """Ilium (plates), ischium and the femoral heads, in the sacrum's frame."""
    tilt = float(rng.normal(0, 6))
    plates: Rods = [
        ((56, -22, -10), (78, -12 + tilt, 62), (7, 5), (0.8, 3.5, 1)),
        ((58, -20, -12), (98, 42 + tilt, 28), (6, 4), (0.8, 1, 4)),
        ((60, -10, -40), (88, 28 + tilt, -88), (9, 16), (1, 1.6, 1)),
        ((84, 6 + tilt, -112), (70, -14 + tilt, -165), (15, 13), (1, 1, 1)),
    ]
    head: Rods = [((98, 26 + tilt, -112), (101, 27 + tilt, -112), (24, 24), (1, 1, 1))]
    return [("S1", plates), ("S1", head)]


def _paint_rods(canvas: Canvas, frame: Array, rods: Rods, bone_hu: float) -> None:
    """Both sides of a bone made of rods: cortex, and marrow within, where there is no spine."""
    reach = 190.0
    box = canvas.grid.box(frame, (-reach, -reach, -reach - 40), (reach, reach, reach))
    if box is None:
        return
    x, y, z = canvas.grid.local(frame, box)
    mirrored = (np.abs(x), y, z)
    solid = np.full(x.shape, _FAR, dtype=np.float32)
    for start, end, radius, stretch in rods:
        solid = smooth_min(solid, capsule(mirrored, start, end, radius=radius, stretch=stretch), 3.0)
    solid = np.where(canvas.label[box] > 0, _FAR, solid)
    canvas.paint(solid, c.CORTEX, box=box)
    canvas.paint(solid + 1.5, Tissue(bone_hu, 330), box=box)


def _paint_outside(canvas: Canvas, where: Where, body: Body, rng: np.random.Generator) -> None:
    """Skin and air in front and at the sides, in some arms, a table behind, a clip of metal within."""
    x, y, z = where
    outline = ellipse(x, y - 0.3 * body.front, (body.half_width, 0.7 * body.front))
    outline = np.where(y < 0.3 * body.front, np.abs(x) - body.half_width, outline)
    canvas.paint(np.maximum(-outline - 2.0, outline), c.SKIN)
    canvas.paint(-outline, c.AIR)
    if rng.random() < 0.3:
        side = float(body.half_width + rng.uniform(30, 50))
        arm = np.hypot(np.abs(x) - side, y - 10)
        for radius, tissue in ((38.0, c.FAT), (32.0, c.MUSCLE), (12.0, c.CORTEX), (8.0, c.MARROW_FAT)):
            canvas.paint(arm - radius, tissue)
    outside = canvas.hu < -800
    if rng.random() < 0.6:
        level = float(np.min(y[canvas.label > 0], initial=-80.0)) - float(rng.uniform(25, 60))
        slab = np.where(outside, np.abs(y - level) - float(rng.uniform(2, 12)), _FAR)
        canvas.paint(slab, TABLE)
    if rng.random() < 0.15:
        offset = (x - rng.uniform(-40, 40), y - rng.uniform(25, body.front), z - rng.uniform(z.min(), z.max()))
        canvas.paint(ellipsoid(offset, (3.0, 3.0, 5.0)), METAL)


def _point(values: Array | list[float]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
