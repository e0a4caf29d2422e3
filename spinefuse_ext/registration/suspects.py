"""Landmarks that were probably set wrongly: two names exchanged, or one point clicked elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.linear import fit_rigid
from spinefuse_ext.registration.models import Estimator, Model, estimator, obstacle
from spinefuse_ext.registration.vertebrae import Vertebrae, vertebrae_from_names
from spinefuse_ext.validation import LandmarkError

Points = NDArray[np.float64]

#: Exchanging two names must at least halve the rigid error, and lower it by this much.
_SWAP_PART, _SWAP_MM = 0.5, 2.0
#: A left-out point must be this many times further off than the points of that fit, and by this much.
_CLICK_TIMES, _CLICK_MM = 4.0, 5.0
_FEWEST_LEFT = 5
#: The same for a point whose vertebra keeps fewer than three others: its neighbours say where it lies, and spines bend.
_BENT_MM, _FEWEST_OF_VERTEBRA = 10.0, 3


class Suspect(NamedTuple):
    """A doubt about one landmark (``misplaced``) or two (``swapped``), and the error in mm with and without it."""

    kind: str
    names: tuple[str, ...]
    with_mm: float
    without_mm: float

    def sentence(self) -> str:
        """What is suspected and what to do, for a person."""
        listed = " and ".join(self.names)
        figures = f"{self.with_mm:.1f} mm to {self.without_mm:.1f} mm"
        if self.kind == "swapped":
            return (
                f"Landmarks {listed} look swapped in one of the images: exchanging them lowers the rigid error from "
                f"{figures}; check their names."
            )
        return (
            f"Landmark {listed} looks misplaced: it lies {self.with_mm:.1f} mm off when the fit leaves it out, the "
            f"other points {self.without_mm:.1f} mm; check it in both images."
        )


def find_suspects(
    names: Sequence[str], fixed: Points, moving: Points, model: Model, vertebrae: Vertebrae | None = None
) -> tuple[Suspect, ...]:
    """Name swapped pairs, then, with these exchanged, misplaced points; ``(N, 3)`` points of one order.

    Misplaced points are judged under the rigid fit, not under an affine map or a spline: these bend to a bad point and
    extrapolate wildly at a good one on the rim. Where the vertebrae are known, a doubt must hold under ``per_vertebra``
    too, so that a change of posture raises none. Needs 6 points for either kind.
    """
    swapped, order = _swapped(names, fixed, moving)
    pair = (fixed, moving[order])
    bones = _levels(names, fixed) if vertebrae is None else vertebrae
    misplaced: tuple[Suspect, ...] = ()
    if model is not Model.PER_VERTEBRA:
        misplaced = _misplaced(names, pair, estimator(Model.RIGID, *pair), Model.RIGID)
    if bones is not None and (misplaced or model is Model.PER_VERTEBRA):
        estimate = estimator(Model.PER_VERTEBRA, *pair, bones)
        misplaced = _misplaced(names, pair, estimate, Model.PER_VERTEBRA, bones.owner)
    taken = {name for suspect in swapped for name in suspect.names}
    return (*swapped, *(suspect for suspect in misplaced if not taken & set(suspect.names)))


def _levels(names: Sequence[str], fixed: Points) -> Vertebrae | None:
    try:
        return vertebrae_from_names(Landmarks(tuple(names), fixed))
    except LandmarkError:  # names that tell no level are fine here
        return None


def _swapped(names: Sequence[str], fixed: Points, moving: Points) -> tuple[tuple[Suspect, ...], NDArray[np.int64]]:
    """Exchange the best pair again and again, as long as it lowers the rigid error drastically; and the order then."""
    order, found = np.arange(len(names)), []
    pairs = list(combinations(range(len(names)), 2)) if len(names) > _FEWEST_LEFT else []
    while pairs:
        before = _rigid_rms(fixed, moving[order])
        if before < _SWAP_MM:
            break
        after, (one, other) = min((_rigid_rms(fixed, moving[_exchanged(order, *pair)]), pair) for pair in pairs)
        if after > _SWAP_PART * before or before - after < _SWAP_MM:
            break
        order = _exchanged(order, one, other)
        found.append(Suspect("swapped", (names[one], names[other]), before, after))
        pairs = [pair for pair in pairs if not {one, other} & set(pair)]
    return tuple(found), order


def _exchanged(order: NDArray[np.int64], one: int, other: int) -> NDArray[np.int64]:
    changed = order.copy()
    changed[[one, other]] = order[[other, one]]
    return changed


def _rigid_rms(fixed: Points, moving: Points) -> float:
    return float(np.sqrt(((fit_rigid(fixed, moving)(fixed) - moving) ** 2).sum(1).mean()))


def _misplaced(
    names: Sequence[str],
    pair: tuple[Points, Points],
    estimate: Estimator,
    model: Model,
    owner: NDArray[np.int64] | None = None,
) -> tuple[Suspect, ...]:
    """Take away the point that stands out most, and look again, while at least 5 remain; ``owner`` is its vertebra."""
    fixed, moving = pair
    rows = np.arange(len(names))
    found: list[Suspect] = []
    while len(rows) > _FEWEST_LEFT:
        best: tuple[float, int, Suspect] | None = None
        for row in rows:
            others = rows[rows != row]
            if obstacle(model, fixed[others], moving[others]) is not None:
                continue
            errors = np.linalg.norm(estimate(others)(fixed[rows]) - moving[rows], axis=1)
            own, rest = float(errors[rows == row][0]), float(np.sqrt((errors[rows != row] ** 2).mean()))
            told = owner is None or (owner[others] == owner[row]).sum() >= _FEWEST_OF_VERTEBRA
            stands_out = own > max(_CLICK_MM if told else _BENT_MM, _CLICK_TIMES * rest)
            if stands_out and (best is None or own / max(rest, 1e-9) > best[0]):
                best = (own / max(rest, 1e-9), int(row), Suspect("misplaced", (names[int(row)],), own, rest))
        if best is None:
            break
        found.append(best[2])
        rows = rows[rows != best[1]]
    return tuple(found)
