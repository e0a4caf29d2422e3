"""The numbering of a CT laid over that of an MR of one patient: where the two contradict each other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spinefuse_ext.levels.ids import EXTRA, HEAD_DOWN
from spinefuse_ext.levels.record import Level, Levels
from spinefuse_ext.validation import LevelsError

Points = NDArray[np.float64]
Map = Callable[[Points], Points]

#: Bodies of one vertebra lie no farther apart than this part of the distance of neighbours.
_SAME = 0.5
_PITCH_MM = 34.0


@dataclass(frozen=True)
class Contradiction:
    """A sentence with the evidence, and its kind.

    Kinds are "shift", "name", "order", "missing_in_mr", "missing_in_ct" and "count".
    """

    kind: str
    sentence: str


@dataclass(frozen=True)
class CrossCheck:
    """Pairs of names (CT, MR) that lie on one another and how far apart, mm; and what contradicts."""

    pairs: tuple[tuple[str, str, float], ...]
    contradictions: tuple[Contradiction, ...]

    @property
    def agrees(self) -> bool:
        return not self.contradictions


def cross_check(ct: Levels, mr: Levels, ct_to_mr: Map) -> CrossCheck:
    """Compare the levels of two scans that a map ``(N, 3)`` RAS mm, CT -> MR, lays over one another.

    A vertebra of the CT is that of the MR whose body lies nearest, within half the distance of neighbours. One that has
    no partner is missing where both its neighbours have one, so the edge of either field is none. Levels that are
    counted (V1, V2) have no name that could contradict; only what is missing and the order are compared.

    Raises:
        LevelsError: No vertebra of one scan lies on one of the other.
    """
    ones, others = _bones(ct), _bones(mr)
    placed, there = ct_to_mr(_centres(ones)), _centres(others)
    far = np.linalg.norm(placed[:, None] - there[None], axis=2)
    near = _SAME * _pitch(placed, there)
    rows, columns = linear_sum_assignment(np.minimum(far, 3 * near))
    pairs = [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if far[a, b] <= near]
    if not pairs:
        raise LevelsError(
            f"No vertebra of the CT ({ct.told() or 'none'}) lies on one of the MR ({mr.told() or 'none'}), the nearest "
            f"{far.min(initial=np.inf):.0f} mm away; check the registration, and that both show one part of the spine."
        )
    named = [(ones[a].name, others[b].name, float(far[a, b])) for a, b in pairs]
    found = [
        *_names(named, ct.relative or mr.relative),
        *_order([others[b] for _, b in pairs], [ones[a] for a, _ in pairs]),
        *_missing(ones, [a for a, _ in pairs], "CT", "MR"),
        *_missing(others, [b for _, b in pairs], "MR", "CT"),
        *_count(ct, mr),
    ]
    return CrossCheck(tuple(named), tuple(found))


def _bones(levels: Levels) -> list[Level]:
    return [level for level in levels.levels if level.kind == "vertebra"]


def _centres(levels: Sequence[Level]) -> Points:
    return np.array([level.centroid_mm for level in levels], dtype=np.float64).reshape(-1, 3)


def _pitch(*spines: Points) -> float:
    steps = [np.linalg.norm(np.diff(points, axis=0), axis=1) for points in spines if len(points) > 1]
    return float(np.median(np.concatenate(steps))) if steps else _PITCH_MM


def _names(pairs: Sequence[tuple[str, str, float]], relative: bool) -> list[Contradiction]:
    """One contradiction where all names are shifted alike, else one for each pair whose names differ."""
    if relative:
        return []
    present = {name for ct, mr, _ in pairs for name in (ct, mr)}
    order = [name for name in HEAD_DOWN if name not in EXTRA or name in present]
    shifts = [order.index(mr) - order.index(ct) for ct, mr, _ in pairs]
    differ = [pair for pair, shift in zip(pairs, shifts, strict=True) if shift]
    if not differ:
        return []
    shift, count = Counter(shifts).most_common(1)[0]
    if shift and count == len(pairs) and len(pairs) > 1:
        ct, mr, far = differ[len(differ) // 2]
        way = "below" if shift > 0 else "above"
        levels = "one level" if abs(shift) == 1 else f"{abs(shift)} levels"
        return [
            Contradiction(
                "shift",
                f"The MR's names stand {levels} {way} the CT's: {mr} of the MR lies on {ct} of the CT ({far:.1f} mm "
                f"apart), and so do all {len(pairs)} vertebrae that both show.",
            )
        ]
    return [
        Contradiction("name", f"{ct} of the CT lies on {mr} of the MR ({far:.1f} mm apart); one of the names is wrong.")
        for ct, mr, far in differ
    ]


def _order(mr: Sequence[Level], ct: Sequence[Level]) -> list[Contradiction]:
    """Names that run up where places run down, in either scan."""
    found = []
    for what, levels in (("CT", ct), ("MR", mr)):
        ordered = sorted(levels, key=lambda level: -level.centroid_mm[2])
        for upper, lower in itertools.pairwise(ordered):
            if _place(upper.name) >= _place(lower.name):
                found.append(
                    Contradiction(
                        "order",
                        f"{upper.name} lies above {lower.name} in the {what}, against the order of their names.",
                    )
                )
    return found


def _place(name: str) -> int:
    return int(name[1:]) if name.startswith("V") else HEAD_DOWN.index(name)


def _missing(levels: Sequence[Level], paired: Sequence[int], here: str, there: str) -> list[Contradiction]:
    """Vertebrae without a partner between such that have one."""
    found = []
    for place in range(min(paired) + 1, max(paired)):
        if place not in paired:
            above = levels[max(each for each in paired if each < place)].name
            below = levels[min(each for each in paired if each > place)].name
            found.append(
                Contradiction(
                    f"missing_in_{there.lower()}",
                    f"{levels[place].name} of the {here}, between {above} and {below}, has no partner in the {there}: "
                    f"missing there, or one too many in the {here}.",
                )
            )
    return found


def _count(ct: Levels, mr: Levels) -> list[Contradiction]:
    """Lumbar vertebrae between a named thoracic one and the sacrum, where both scans show that much."""
    counts = {what: _lumbar(levels) for what, levels in (("CT", ct), ("MR", mr))}
    if None in counts.values() or counts["CT"] == counts["MR"]:
        return []
    return [
        Contradiction("count", f"The CT shows {counts['CT']} lumbar vertebrae and the MR {counts['MR']}; look at both.")
    ]


def _lumbar(levels: Levels) -> int | None:
    names = [level.name for level in levels.vertebrae]
    complete = any(name.startswith("T") for name in names) and any(level.kind == "sacrum" for level in levels.levels)
    return None if levels.relative or not complete else sum(name.startswith("L") for name in names)
