"""Which vertebra each number of a label volume is: by the scheme that is named, or that numbers and heights agree on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.labels import VERTEBRAE
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
#: Number -> name. VerSe counts from the head down; TotalSegmentator (version 2 and 1) and SPIDER from below up.
SCHEMES: dict[str, Mapping[int, str]] = {
    "verse": VERTEBRAE,
    "totalsegmentator": {25: "sacrum", 26: "S1", **_rising(27, _UP)},
    "totalsegmentator_v1": _rising(18, _UP),
    "spider": _rising(1, _UP),
}
#: Numbers of a scheme that are other structures: left out, and said.
_OTHERS = {
    "verse": {27},
    "totalsegmentator": set(range(1, 118)),
    "totalsegmentator_v1": set(range(1, 105)),
    "spider": {100, *range(201, 226)},
}
#: Schemes that are recognised; the others must be named, because their numbers look like any count from below up.
_RECOGNISED = ("verse", "totalsegmentator")
#: Neighbours may lie this much out of order before numbers contradict heights.
_SLACK_MM = 2.0


def vertebra_names(
    numbers: Sequence[int], centroids: Points, path: Path, scheme: str | None = None
) -> dict[int, str]:
    """Return the name of every number that is a vertebra of ``scheme``, by default of the one scheme that fits.

    A scheme fits if it knows every number and its order from the head down is that of the ``centroids`` ``(N, 3)``, RAS
    mm. What was recognised and what is no vertebra is logged.

    Raises:
        LandmarkError: No such scheme, numbers without a name in it or out of its order, or several schemes that differ.
    """
    if scheme is not None and scheme not in SCHEMES:
        raise LandmarkError(f"Expected a scheme out of {', '.join(SCHEMES)}, got {scheme}; choose one of these.")
    tried = _RECOGNISED if scheme is None else (scheme,)
    obstacles = {name: _obstacle(name, numbers, centroids) for name in tried}
    fitting = [name for name, reason in obstacles.items() if reason is None]
    found = [_named(name, numbers) for name in fitting]
    if not fitting:
        reasons = "; ".join(f"in the scheme {name} {reason}" for name, reason in obstacles.items())
        raise LandmarkError(
            f"{path} has labels {_listed(numbers)}, but {reasons}; name another scheme ({', '.join(SCHEMES)}), choose "
            "other labels, or use the order top_down, which counts from the head."
        )
    if any(names != found[0] for names in found):
        number = next(number for number in numbers if len({names.get(number) for names in found}) > 1)
        words = " or ".join(f"{names.get(number, 'no vertebra')} ({name})" for name, names in zip(fitting, found, strict=True))
        raise LandmarkError(f"{path}: label {number} may be {words}; name the scheme, for example --scheme {fitting[0]}.")
    _say(path, fitting[0], scheme, found[0], numbers)
    return found[0]


def _named(scheme: str, numbers: Sequence[int]) -> dict[int, str]:
    return {number: SCHEMES[scheme][number] for number in numbers if number in SCHEMES[scheme]}


def _obstacle(scheme: str, numbers: Sequence[int], centroids: Points) -> str | None:
    """Say why the numbers cannot be those of the scheme, None if they can."""
    table = SCHEMES[scheme]
    unknown = [number for number in numbers if number not in table and number not in _OTHERS[scheme]]
    if unknown:
        return f"{_listed(unknown)} {'is' if len(unknown) == 1 else 'are'} no vertebra"
    heights = {_HEAD_DOWN.index(table[n]): (n, float(c[2])) for n, c in zip(numbers, centroids, strict=True) if n in table}
    if not heights:
        return "none of them is a vertebra"
    down = [heights[rank] for rank in sorted(heights)]
    for (upper, top), (lower, bottom) in zip(down, down[1:], strict=False):
        if bottom > top + _SLACK_MM:
            return f"{upper} ({table[upper]}) should lie above {lower} ({table[lower]}), but lies below it"
    return None


def _say(path: Path, scheme: str, asked: str | None, names: Mapping[int, str], numbers: Sequence[int]) -> None:
    if asked is None:
        logger.info("%s: numbers and heights are those of the scheme %s", path, scheme)
    others = [number for number in numbers if number not in names]
    if others:
        logger.info("%s: %s are no vertebrae in the scheme %s and were left out", path, _listed(others), scheme)


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    return shown if len(numbers) <= 6 else f"{shown} and {len(numbers) - 6} more"
