"""Virtual pedicle screws: planned in a bone's label, and how far one ends from where it should."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.models import PointMap

Array = NDArray[np.float64]

DIAMETER_MM = 5.5
#: From the middle of the pedicle back to where the screw enters, and on to its tip.
_BACK_MM, _ON_MM = 15.0, 30.0
#: Toward the midline, as lumbar pedicles run.
_CONVERGENCE_DEG = 12.0
#: Where a pedicle is looked for: so far to the side of the body's middle, and about so far above it.
_ASIDE_MM, _HEIGHT_MM = (8.0, 24.0), (-4.0, 16.0)
_SLAB_MM = 6.0
_FEWEST = 8


class Screw(NamedTuple):
    """Where a screw of 5.5 mm enters and where its tip lies, ``(3,)`` each, RAS mm."""

    entry_mm: Array
    tip_mm: Array

    @property
    def direction(self) -> Array:
        """From entry to tip, of length 1."""
        way = self.tip_mm - self.entry_mm
        return np.asarray(way / np.linalg.norm(way))

    def moved(self, motion: PointMap) -> Screw:
        """The screw carried to the other scan, at its own length."""
        entry, tip = motion(np.stack([self.entry_mm, self.tip_mm]))
        return Screw(entry, tip)


class Deviation(NamedTuple):
    """Between one screw and the same one meant elsewhere: of entry and tip, mm, and of direction, degrees."""

    entry_mm: float
    tip_mm: float
    turn_deg: float

    @property
    def largest_mm(self) -> float:
        return max(self.entry_mm, self.tip_mm)


def deviation(screw: Screw, meant: Screw) -> Deviation:
    """How far a screw lies from where it was meant to."""
    cosine = float(np.clip(screw.direction @ meant.direction, -1, 1))
    return Deviation(
        float(np.linalg.norm(screw.entry_mm - meant.entry_mm)),
        float(np.linalg.norm(screw.tip_mm - meant.tip_mm)),
        float(np.rad2deg(np.arccos(cosine))),
    )


def screw_through(pedicle_mm: Array, side: int, axes: Array) -> Screw:
    """The screw through the middle of a pedicle ``(3,)``; ``side`` is 1 on the patient's right, -1 on the left.

    ``axes`` ``(3, 3)`` are columns: the vertebra's right, front and up.
    """
    lean = np.deg2rad(_CONVERGENCE_DEG)
    way = axes @ np.array([-side * np.sin(lean), np.cos(lean), 0.0])
    return Screw(pedicle_mm - _BACK_MM * way, pedicle_mm + _ON_MM * way)


def plan_screws(voxels_mm: Array, body_mm: Array, axes: Array) -> list[Screw]:
    """Screws through the pedicles of a vertebra's voxels ``(N, 3)``, the right one first; those that can be placed.

    The pedicle is the narrowest section of the bone behind the body, beside the midline, between body and arch.
    ``body_mm`` is the centre of the body, ``axes`` as in ``screw_through``.
    """
    local = (voxels_mm - body_mm) @ axes
    planned = []
    for side in (1, -1):
        aside, up = side * local[:, 0], local[:, 2]
        beside = (aside > _ASIDE_MM[0]) & (aside < _ASIDE_MM[1]) & (up > _HEIGHT_MM[0]) & (up < _HEIGHT_MM[1])
        pedicle = _narrowest(local[beside])
        if pedicle is not None:
            planned.append(screw_through(body_mm + axes @ pedicle, side, axes))
    return planned


def _narrowest(local: Array) -> Array | None:
    """Centre of the slab across the front axis that holds least bone, 12 to 30 mm behind the body's centre."""
    slabs = []
    for back in np.arange(12.0, 30.0, 1.0):
        within = local[np.abs(local[:, 1] + back) < _SLAB_MM / 2]
        if len(within) >= _FEWEST:
            slabs.append(within)
    return None if not slabs else np.asarray(min(slabs, key=len).mean(0))


def spread_mm(screws: list[Screw], meant: Array, motions: list[Array]) -> Array:
    """Largest deviation of the screws, mm, for each of several motions ``(4, 4)`` from the one that is meant."""
    return np.array(
        [
            max(deviation(screw.moved(LinearMap(motion)), screw.moved(LinearMap(meant))).largest_mm for screw in screws)
            for motion in motions
        ]
    )
