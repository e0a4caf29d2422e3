"""Maps under which every landmark sits on the vertebra above or below the one that its name says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.linear import LinearMap, fit_rigid
from spinefuse_ext.registration.models import Model, obstacle
from spinefuse_ext.registration.vertebrae import levels_in, ranks_of, without_level
from spinefuse_ext.validation import LandmarkError

Points = NDArray[np.float64]

_SHIFTS = (1, -1, 2, -2)


def shifted_levels(fixed: Landmarks, moving: Landmarks, given: LinearMap) -> Iterator[tuple[int, LinearMap]]:
    """Return shifts of 1 and 2 levels (above 0: the MR's names stand too high) with rigid maps for each.

    In one the ``given`` map is moved along the spine; in the other, where 3 or more are left, points of one feature
    (``L3 tip`` and ``L4 tip``) are paired across levels. Names that tell no level are left out.
    """
    fixed, moving = _with_level(fixed), _with_level(moving)
    levels = _levels([*fixed.names, *moving.names])
    if not fixed.names or not moving.names or levels is None:
        return
    rank_of = ranks_of(levels)
    ranks = [rank_of[level] for level in levels]
    step = _step(fixed.points_mm, np.array(ranks[: len(fixed.names)]))
    keys = [(without_level(name), rank) for name, rank in zip([*fixed.names, *moving.names], ranks, strict=True)]
    for shift in _SHIFTS:
        if step is not None:
            matrix = np.eye(4)
            matrix[:3, 3] = shift * step
            yield shift, LinearMap(given.matrix @ matrix)
        pairs = _pairs(keys[: len(fixed.names)], keys[len(fixed.names) :], shift)
        used = fixed.points_mm[[one for one, _ in pairs]], moving.points_mm[[other for _, other in pairs]]
        if obstacle(Model.RIGID, *used) is None:
            yield shift, fit_rigid(*used)


def _with_level(points: Landmarks) -> Landmarks:
    rows = [row for row, name in enumerate(points.names) if _levels([name]) is not None]
    return Landmarks(tuple(points.names[row] for row in rows), points.points_mm[rows])


def _levels(names: Sequence[str]) -> list[str] | None:
    try:
        return levels_in(names)
    except LandmarkError:
        return None


def _pairs(fixed: list[tuple[str, int]], moving: list[tuple[str, int]], shift: int) -> list[tuple[int, int]]:
    """Return rows of both lists whose feature is one and whose levels lie ``shift`` apart."""
    place = {key: row for row, key in enumerate(moving)}
    shifted = [(row, (feature, rank + shift)) for row, (feature, rank) in enumerate(fixed)]
    return [(row, place[key]) for row, key in shifted if key in place]


def _step(points: Points, ranks: NDArray[np.int64]) -> Points | None:
    """The mean way ``(3,)`` from one level to the next below it; None for points of one level."""
    if np.ptp(ranks) == 0:
        return None
    slope = np.polynomial.polynomial.polyfit(ranks.astype(float), points, 1)[1]
    return np.asarray(slope, dtype=np.float64)
