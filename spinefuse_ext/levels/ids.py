"""The numbers that programs write for vertebrae and discs, and their codes."""

from __future__ import annotations

from collections.abc import Mapping

from spinefuse_ext.labels import VERTEBRAE
from spinefuse_ext.validation import check_choice

#: From the head down. A thirteenth thoracic and a sixth lumbar vertebra stand where they occur.
HEAD_DOWN = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 14)), *(f"L{n}" for n in range(1, 7)), "S1")
EXTRA = ("T13", "L6")

_VERSE = {name: number for number, name in VERTEBRAE.items()}
_UP = ("L5", "L4", "L3", "L2", "L1", *(f"T{n}" for n in range(12, 0, -1)), *(f"C{n}" for n in range(7, 0, -1)))
#: Name -> number. TotalSegmentator has none for T13 and L6: they get 98 and 99 here, which are ribs there.
_TOTALSEGMENTATOR = {"S1": 25, **{name: 27 + place for place, name in enumerate(_UP)}, "T13": 98, "L6": 99}
_VERTEBRA_NUMBERS: Mapping[str, Mapping[str, int]] = {"verse": _VERSE, "totalsegmentator": _TOTALSEGMENTATOR}
#: A disc has the number of the vertebra above it and 100 more, as TPTBox and SPINEPS write it.
DISC = 100
#: Levels without a name of anatomy are counted from the head from here, where no program has a vertebra.
_COUNTED = 300

#: What a value of another program's label volume is: the first and last value, and the structure.
SCHEMES: Mapping[str, tuple[tuple[int, int, str], ...]] = {
    "verse": ((1, 25, "vertebra"), (26, 26, "sacrum"), (28, 28, "vertebra")),
    "tptbox": (
        *((1, 25, "vertebra"), (26, 26, "sacrum"), (28, 28, "vertebra"), (60, 61, "canal")),
        *((100, 199, "disc"), (200, 299, "vertebra")),
    ),
    "totalsegmentator": ((25, 26, "sacrum"), (27, 50, "vertebra"), (79, 79, "canal")),
    "spider": ((1, 25, "vertebra"), (100, 100, "canal"), (201, 225, "disc")),
}


def number_of(name: str, ids: str = "verse") -> int:
    """Return the number of a vertebra (``L3``, ``V2``) or disc (``L3/L4``, ``V2/V3``, ``L5/S1``).

    ``ids`` is "verse" (20 is L1) or "totalsegmentator" (31 is L1); counted levels are 301, 302, ... in both.

    Raises:
        ConfigError: no such ids.
    """
    table: Mapping[str, int] = _VERTEBRA_NUMBERS[check_choice("ids", ids, sorted(_VERTEBRA_NUMBERS))]
    above, slash, _ = name.partition("/")
    number = _COUNTED + int(above[1:]) if above.startswith("V") else table[above]
    return number + DISC if slash else number
