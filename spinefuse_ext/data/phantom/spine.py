"""What one patient's spine is made of: sizes, level count, curvature and degeneration, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinefuse_ext.labels import VERTEBRAE

#: Typical adult widths, heights (mm), wedging (degrees) and transverse process reach (mm) from T10 down to L5.
_WIDTH_MM = {"T10": 34.0, "T11": 37.0, "T12": 40.0, "L1": 42.0, "L2": 44.0, "L3": 46.0, "L4": 48.0, "L5": 51.0}
_HEIGHT_MM = {"T10": 22.5, "T11": 23.5, "T12": 25.0, "L1": 26.5, "L2": 27.0, "L3": 27.5, "L4": 27.5, "L5": 27.0}
_WEDGE_DEG = {"T10": -3.0, "T11": -3.0, "T12": -3.0, "L1": -2.0, "L2": 0.0, "L3": 0.5, "L4": 1.5, "L5": 6.5}
_REACH_MM = {"T10": 27.0, "T11": 23.0, "T12": 22.0, "L1": 37.0, "L2": 42.0, "L3": 46.0, "L4": 42.0, "L5": 43.0}
#: Height (mm) and lordotic wedge (degrees) of the disc below each of them.
_DISC_MM = {"T10": 5.5, "T11": 6.0, "T12": 7.0, "L1": 8.5, "L2": 9.5, "L3": 10.5, "L4": 11.5, "L5": 10.5}
_DISC_DEG = {"T10": 0.0, "T11": 1.0, "T12": 3.0, "L1": 4.0, "L2": 5.5, "L3": 7.0, "L4": 9.0, "L5": 12.0}


@dataclass(frozen=True)
class Vertebra:
    """One rigid bone in its own frame: origin at the body's centre, axes right, anterior, superior, sizes in mm."""

    name: str
    number: int
    width_mm: float
    depth_mm: float
    height_mm: float
    wedge_deg: float
    reach_mm: float
    pedicle_mm: float
    osteophyte_mm: float
    asymmetry: float

    @property
    def is_sacrum(self) -> bool:
        return self.name == "S1"


@dataclass(frozen=True)
class Disc:
    """The disc below a vertebra; ``angles_deg`` are lordosis, scoliosis and rotation; degeneration 0 to 1."""

    height_mm: float
    angles_deg: tuple[float, float, float]
    degeneration: float


@dataclass(frozen=True)
class Spine:
    """Vertebrae from the sacrum upwards, the discs between them (one fewer), and the patient's soft-tissue traits."""

    vertebrae: tuple[Vertebra, ...]
    discs: tuple[Disc, ...]
    centre: int
    scale: float
    bone_hu: float
    marrow_fat: float
    muscle_fat: float
    subcutaneous_mm: float
    conus_mm: float
    body_centre_mm: float

    @property
    def half_depth_mm(self) -> float:
        return self.vertebrae[0].depth_mm / 2


def draw_spine(rng: np.random.Generator, *, levels: int | None = None, degeneration: float | None = None) -> Spine:
    """Draw a patient; ``levels`` lumbar vertebrae (4, 5 or 6) and ``degeneration`` (0 to 1) are drawn when None.

    ``centre`` is the index of the disc at the middle of the field of view (L3/L4).
    """
    drawn_levels = int(rng.choice([4, 5, 6], p=[0.1, 0.8, 0.1]))
    count = drawn_levels if levels is None else levels
    age = float(rng.uniform(0.1, 0.9))
    wear = age if degeneration is None else degeneration
    scale = float(np.clip(rng.normal(1.0, 0.05), 0.9, 1.12))
    names = ["S1", *(f"L{level}" for level in range(count, 0, -1)), "T12", "T11", "T10"]
    discs = _draw_discs(rng, names[1:], wear, scale)
    return Spine(
        vertebrae=_draw_vertebrae(rng, names, discs, scale),
        discs=discs,
        centre=names.index("L3") - 1,
        scale=scale,
        bone_hu=float(250 - 110 * age + rng.normal(0, 10)),
        marrow_fat=float(0.3 + 0.5 * age),
        muscle_fat=float(rng.uniform(0.02, 0.12) + 0.15 * age),
        subcutaneous_mm=float(rng.uniform(6, 16)),
        conus_mm=float(rng.normal(0, 8)),
        body_centre_mm=float(31 + rng.normal(0, 1.5)),
    )


def _draw_discs(rng: np.random.Generator, above: list[str], wear: float, scale: float) -> tuple[Disc, ...]:
    """One disc under each vertebra named in ``above``; the lower two wear most."""
    lordosis = float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4))
    scoliosis_deg, phase = abs(float(rng.normal(0, 2.0))), float(rng.uniform(0, 2 * np.pi))
    discs = []
    for place, name in enumerate(above):
        table = _table_name(name)
        grade = float(np.clip(wear * (0.75 + 0.5 * (place < 2)) + rng.normal(0, 0.18), 0, 1))
        bend = scoliosis_deg * float(np.sin(phase + 0.9 * place))
        lean = lordosis * _DISC_DEG[table] + float(rng.normal(0, 1.0))
        height = _DISC_MM[table] * scale * (1 - 0.45 * grade) * float(rng.normal(1, 0.05))
        discs.append(Disc(height, (lean, bend, 0.6 * bend + float(rng.normal(0, 0.5))), grade))
    return tuple(discs)


def _draw_vertebrae(
    rng: np.random.Generator, names: list[str], discs: tuple[Disc, ...], scale: float
) -> tuple[Vertebra, ...]:
    """One vertebra per name, with spurs where a neighbouring disc is worn."""
    numbers = {name: number for number, name in VERTEBRAE.items()}
    depth = 34.5 * scale * float(rng.normal(1, 0.02))
    bones = []
    for place, name in enumerate(names):
        table = _table_name(name)
        worn = max(disc.degeneration for disc in discs[max(place - 1, 0) : place + 1])
        bones.append(
            Vertebra(
                name=name,
                number=numbers[name],
                width_mm=_WIDTH_MM[table] * scale * float(rng.normal(1, 0.02)),
                depth_mm=depth,
                height_mm=_HEIGHT_MM[table] * scale * float(rng.normal(1, 0.02)),
                wedge_deg=_WEDGE_DEG[table] + float(rng.normal(0, 0.7)),
                reach_mm=_REACH_MM[table] * scale * float(rng.normal(1, 0.04)),
                pedicle_mm=(7.5 if name.startswith("T") else 4.2 + 1.1 * int(table[1])) * scale,
                osteophyte_mm=max(0.0, 4.5 * (worn - 0.45)),
                asymmetry=float(rng.normal(0, 0.02)),
            )
        )
    return tuple(bones)


def _table_name(name: str) -> str:
    """The row of the size tables for a vertebra: a sixth lumbar one and the sacrum are built like L5."""
    return "L5" if name in ("L6", "S1") else name
