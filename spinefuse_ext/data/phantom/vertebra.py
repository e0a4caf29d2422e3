"""The shape of one vertebra in its own frame: waisted body, pedicles, laminae and seven processes."""

from __future__ import annotations

import numpy as np

from spinefuse_ext.data.phantom.shapes import Array, Point, capsule, rounded_box, smooth_max, smooth_min, superellipse
from spinefuse_ext.data.phantom.spine import Vertebra

Where = tuple[Array, Array, Array]


def bone_distance(bone: Vertebra, where: Where) -> Array:
    """Signed distance (mm, negative inside) to the whole bone; ``where`` holds x, y, z in the bone's frame."""
    return smooth_min(body_distance(bone, where), arch_distance(bone, where), 3.0)


def endplate_height(bone: Vertebra, x: Array, y: Array, side: int) -> Array:
    """Local z of the upper (``side`` 1) or lower (-1) endplate: a rim with a shallow dish, tilted by the wedge."""
    inside = np.maximum(1 - (2 * x / bone.width_mm) ** 2 - (2 * y / bone.depth_mm) ** 2, 0)
    tilt = np.tan(np.deg2rad(bone.wedge_deg / 2))
    dish = 0.07 * bone.height_mm * np.sqrt(inside)
    height: Array = side * (bone.height_mm / 2 + y * tilt - dish)
    return height


def section_distance(bone: Vertebra, x: Array, y: Array, girth: Array | float = 1.0) -> Array:
    """Distance to the kidney-shaped outline of the body; ``girth`` scales it (waist, rims)."""
    outline = superellipse(x, y, (bone.width_mm / 2 * girth, bone.depth_mm / 2 * girth))
    hollow = 16.0 - np.hypot(x, y + bone.depth_mm / 2 + 16.0 - 3.6)
    return smooth_max(outline, hollow, 3.0)


def body_distance(bone: Vertebra, where: Where) -> Array:
    """The vertebral body: kidney-shaped, waisted, with dished endplates and spurs at the rims of worn levels."""
    x, y, z = where
    level = np.clip(np.abs(z) / (bone.height_mm / 2), 0, 1.1)
    spur = 2 * bone.osteophyte_mm / bone.width_mm * level**6 * (y > -bone.depth_mm / 4)
    girth = 0.89 + 0.11 * level * level + spur
    if bone.is_sacrum:
        girth = girth * (1 + 0.25 * np.clip(z / bone.height_mm, -0.6, 0.6))
    upper = z - endplate_height(bone, x, y, 1)
    lower = endplate_height(bone, x, y, -1) - z
    return smooth_max(section_distance(bone, x, y, girth), np.maximum(upper, lower), 3.0)


def arch_distance(bone: Vertebra, where: Where) -> Array:
    """Everything behind the body; left and right are mirror images up to a small asymmetry."""
    x, y, z = where
    side = np.abs(x) * (1 + bone.asymmetry * np.sign(x))
    mirrored = (side, y, z)
    rods = _sacral_rods(bone) if bone.is_sacrum else _rods(bone)
    start, end, radius, stretch = rods[0]
    arch = capsule(mirrored, start, end, radius=radius, stretch=stretch)
    for start, end, radius, stretch in rods[1:]:
        arch = smooth_min(arch, capsule(mirrored, start, end, radius=radius, stretch=stretch), 3.0)
    if bone.is_sacrum:
        back = -bone.depth_mm / 2
        return np.maximum(
            arch, -capsule(where, (0, back - 7, 25), (0, back - 17, -60), radius=(8.5, 5), stretch=(1.2, 1, 1))
        )
    return smooth_min(arch, _spinous_distance(bone, where), 3.0)


Rod = tuple[Point, Point, tuple[float, float], Point]


def _rods(bone: Vertebra) -> list[Rod]:
    """Right-hand pedicle, lamina, articular and transverse processes as tapered rods in mm."""
    size, half = bone.depth_mm / 34.5, bone.height_mm / 2
    back = -bone.depth_mm / 2
    wide = bone.width_mm / 46
    thin = bone.pedicle_mm / 2
    pillar = 16.5 * wide * size
    tail = 3.5 if bone.name in ("L4", "L5", "L6") else 6.5  # shorter where the lordosis brings the arches together
    flat = (1.0, 1.0, 1.9)
    return [
        (
            (14.5 * wide, back + 5, 0.42 * half),
            (pillar, back - 11, 0.36 * half),
            (thin, thin),
            (1, 1, 7.6 / bone.pedicle_mm * 2),
        ),
        (
            (pillar - 1.5, back - 14 * size, 0.1 * half),
            (1.5, back - 23.5 * size, -0.35 * half),
            (3.3, 3.4),
            (1, 1, 2.7),
        ),
        (
            (pillar, back - 12 * size, 0.3 * half),
            (pillar + 4.2, back - 12.5 * size, half + 8 * size),
            (4.3, 3.2),
            (0.9, 1.15, 1.3),
        ),
        (
            (pillar - 2.5, back - 17 * size, -0.3 * half),
            (pillar - 3.6, back - 19.5 * size, -half - tail * size),
            (4.2, 3.0),
            (1.0, 1.1, 1.3),
        ),
        ((pillar, back - 9 * size, 0.3 * half), (bone.reach_mm, back - 13 * size, 0.45 * half), (4.2, 2.6), flat),
    ]


def _sacral_rods(bone: Vertebra) -> list[Rod]:
    """Right-hand ala, lower sacral segments, back wall and articular process of the sacrum."""
    back = -bone.depth_mm / 2
    return [
        ((14, 0, 0), (46, -16, -8), (13, 13), (1, 1, 1)),
        ((40, -20, -12), (26, -32, -58), (12, 9), (1, 1, 1)),
        ((0, -6, -16), (0, -14, -62), (13, 9), (1.5, 1, 1)),
        ((18, back - 8, -8), (0, back - 21, -6), (4, 4), (1, 1, 2.5)),
        ((16, back - 14, -20), (2, back - 28, -55), (5, 5), (1.5, 1, 1.5)),
        ((0, back - 22, -4), (0, back - 30, -55), (3.5, 4), (1, 1.6, 1)),
        ((17, back - 9, 6), (20, back - 13, bone.height_mm / 2 + 8), (5, 3.8), (1, 1.15, 1)),
    ]


def _spinous_distance(bone: Vertebra, where: Where) -> Array:
    """The hatchet-shaped spinous process; its thickness grows towards the lower edge and the tip."""
    x, y, z = where
    size, half = bone.depth_mm / 34.5, bone.height_mm / 2
    back = -bone.depth_mm / 2 - 21.5 * size
    length = (15.0 if bone.name != "L5" else 11.0) * size
    slope = 0.22 if bone.name.startswith("L") else 0.55
    along = y - (back - length)
    height = z + 0.5 * half - slope * (along - length)
    plate = rounded_box(
        (x * (1 - 0.012 * np.clip(-height, -8, 8)), along, height),
        (3.1, length, (0.4 if bone.name == "L5" else 0.54) * half),
        2.6,
    )
    tip = capsule(
        (x, along, height), (0, -length + 2.5, 0.25 * half), (0, -length + 2.5, -0.38 * half), radius=(3.0, 4.2)
    )
    return smooth_min(plate, tip, 3.0)


def spinous_tip(bone: Vertebra) -> Point:
    """The hindmost point of the spinous process in the bone's frame, mm."""
    size, half = bone.depth_mm / 34.5, bone.height_mm / 2
    length = (15.0 if bone.name != "L5" else 11.0) * size
    slope = 0.22 if bone.name.startswith("L") else 0.55
    return (0.0, -bone.depth_mm / 2 - 21.5 * size - 2 * length - 1.2, -0.6 * half - 2 * slope * length)
