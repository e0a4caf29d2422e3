"""Which vertebra each number of a label volume is: by a named scheme, by names, or by numbers and heights."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.label_files.label_names import named_values
from spinefuse_ext.labels import VERTEBRAE
from spinefuse_ext.names import listed
from spinefuse_ext.validation import LandmarkError

logger = logging.getLogger(__name__)
Points = NDArray[np.float64]

_HEAD_DOWN = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 14)),
    *(f"L{number}" for number in range(1, 7)),
    "S1",
    "sacrum",
)


def _rising(first: int, names: Sequence[str]) -> dict[int, str]:
    return {first + place: name for place, name in enumerate(names)}


_UP = ("L5", "L4", "L3", "L2", "L1", *(f"T{n}" for n in range(12, 0, -1)), *(f"C{n}" for n in range(7, 0, -1)))
#: Number -> name. VerSe and TPTBox count from the head down, TotalSegmentator (version 2, 1) and SPIDER up.
SCHEMES: dict[str, Mapping[int, str]] = {
    "verse": VERTEBRAE,
    "totalsegmentator": {25: "sacrum", 26: "S1", **_rising(27, _UP)},
    "totalsegmentator_v1": _rising(18, _UP),
    "spider": _rising(1, _UP),
    "tptbox": VERTEBRAE,
}
#: Numbers of a scheme that are other structures: left out, and said.
_OTHERS = {
    "verse": {27},
    "totalsegmentator": set(range(1, 118)),
    "totalsegmentator_v1": set(range(1, 105)),
    "spider": {100, *range(201, 226)},
    "tptbox": {27, *range(100, 300)},  # discs are 100 and endplates 200 above their vertebra
}
#: Schemes that are recognised; the others must be named, because their numbers look like any count from below up.
_RECOGNISED = ("verse", "totalsegmentator", "tptbox")
#: The scheme of a file that names its values.
OWN_NAMES = "of its own names"
_LEVEL = re.compile(r"(?:vertebrae?[\s_-]*)?([CTLS])0*([1-9]\d?)(?:[\s_-]*vertebrae?)?|sacrum", re.IGNORECASE)
Table = tuple[Mapping[int, str], Set[int]]
#: Neighbours may lie this much out of order before numbers contradict heights.
_SLACK_MM = 2.0
#: Centres of neighbouring levels lie this far apart: from a child's neck to a fifth lumbar vertebra and a whole sacrum.
_LEVEL_MM = (7.0, 95.0)
#: A scheme that names so many more of the numbers is right, and the rest are no organs of another.
_CLEARLY = 2
_EXTRA = {"T13", "L6"}
_SHOWN = 6  # numbers in a sentence
Placed = tuple[int, int, Points]  # rank from the head, number, centroid


def vertebra_names(numbers: Sequence[int], centroids: Points, path: Path, scheme: str | None = None) -> dict[int, str]:
    """Return the name of every number that is a vertebra of ``scheme``; by default by the names in the file.

    Where the file (or a table beside it) names no level, that scheme is taken that fits: it knows every number, and its
    order from the head down is that of the ``centroids`` ``(N, 3)``, RAS mm. What was recognised and what is no
    vertebra is logged.

    Raises:
        LandmarkError: No such scheme, numbers without a name in it or out of its order, or several schemes that differ.
    """
    if scheme is not None and scheme not in SCHEMES:
        raise LandmarkError(f"Expected a scheme out of {', '.join(SCHEMES)}, got {scheme}; choose one of these.")
    by_name = _named_in_file(path) if scheme is None else {}
    tried = _tables(by_name, numbers, scheme)
    obstacles = {name: _obstacle(*table, numbers, centroids) for name, table in tried.items()}
    fitting = [name for name, reason in obstacles.items() if reason is None]
    found = [{number: tried[name][0][number] for number in numbers if number in tried[name][0]} for name in fitting]
    if not fitting:
        reasons = "; ".join(f"in the scheme {name} {reason}" for name, reason in obstacles.items())
        raise LandmarkError(
            f"{path} has labels {listed(numbers, _SHOWN)}, but {reasons}; name another scheme ({', '.join(SCHEMES)}), "
            "choose other labels, or use the order top_down, which counts from the head."
        )
    best = max(range(len(found)), key=lambda place: len(found[place]))
    rival = next((place for place in range(len(found)) if _contradicts(found[place], found[best])), None)
    if rival is not None:
        number = next(number for number, name in found[best].items() if found[rival].get(number, name) != name)
        words = " or ".join(f"{found[place][number]} ({fitting[place]})" for place in (best, rival))
        raise LandmarkError(
            f"{path}: label {number} may be {words}; name the scheme, for example --scheme {fitting[0]}."
        )
    _say(path, fitting[best], scheme, found[best], numbers)
    return found[best]


def _contradicts(names: Mapping[int, str], best: Mapping[int, str]) -> bool:
    """Whether another reading calls a number differently, and does not take clearly more of them for organs."""
    differs = any(best.get(number, name) != name for number, name in names.items())
    return differs and len(names) > len(best) - _CLEARLY


def _tables(by_name: dict[int, str], numbers: Sequence[int], scheme: str | None) -> dict[str, Table]:
    """Return scheme -> its vertebrae and its other numbers, of those to be tried."""
    if by_name:
        return {OWN_NAMES: (by_name, set(numbers) - set(by_name))}
    tried = _RECOGNISED if scheme is None else (scheme,)
    return {name: (SCHEMES[name], _OTHERS[name]) for name in tried}


def _named_in_file(path: Path) -> dict[int, str]:
    """Return number -> level for the values whose name in the file is a vertebra, ``vertebrae_L3`` or ``L3``."""
    named = named_values(path)[0] if path.is_file() else []
    levels = {each.value: _LEVEL.fullmatch(each.name.strip()) for each in named if not each.layer}
    return {number: _spelt(level) for number, level in levels.items() if level}


def _spelt(level: re.Match[str]) -> str:
    return f"{level[1].upper()}{int(level[2])}" if level[1] else "sacrum"


def _obstacle(table: Mapping[int, str], others: Set[int], numbers: Sequence[int], centroids: Points) -> str | None:
    """Say why the numbers cannot be those of the scheme, None if they can."""
    unknown = [number for number in numbers if number not in table and number not in others]
    if unknown:
        return f"{listed(unknown, _SHOWN)} {'is' if len(unknown) == 1 else 'are'} no vertebra"
    known = [(table[n], n, c) for n, c in zip(numbers, centroids, strict=True) if table.get(n) in _HEAD_DOWN]
    if not known:
        return "none of them is a vertebra"
    present = {name for name, _, _ in known}
    order = [name for name in _HEAD_DOWN if name not in _EXTRA or name in present]
    down = sorted(((order.index(name), number, place) for name, number, place in known), key=lambda each: each[:2])
    return next((reason for pair in pairwise(down) if (reason := _misplaced(*pair, table))), None)


def _misplaced(upper: Placed, lower: Placed, table: Mapping[int, str]) -> str | None:
    """Say why one number cannot be the level above the other's, None if it can."""
    names = [f"{number} ({table[number]})" for _, number, _ in (upper, lower)]
    if lower[2][2] > upper[2][2] + _SLACK_MM:
        return f"{names[0]} should lie above {names[1]}, but lies below it"
    way, levels = float(np.linalg.norm(upper[2] - lower[2])), lower[0] - upper[0]
    if not _LEVEL_MM[0] * levels <= way <= _LEVEL_MM[1] * levels:
        return f"{names[0]} and {names[1]} lie {way:.0f} mm apart, which is not {levels} level{'s' * (levels > 1)}"
    return None


def _say(path: Path, scheme: str, asked: str | None, names: Mapping[int, str], numbers: Sequence[int]) -> None:
    if asked is None:
        logger.info("%s: numbers and heights are those of the scheme %s", path, scheme)
    others = [number for number in numbers if number not in names]
    if others:
        logger.info("%s: %s are no vertebrae in the scheme %s and were left out", path, listed(others, _SHOWN), scheme)
