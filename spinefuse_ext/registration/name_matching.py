"""Which point of one landmark list is which of the other: by name, with what was left out or read loosely said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spinefuse_ext.names import listed, normal_form
from spinefuse_ext.registration.landmarks import Landmarks

_LOOSE = re.compile(r"[\s_-]+")


class Matched(NamedTuple):
    """Two lists with the same names in one order, and a sentence about every name that was not simply equal."""

    fixed: Landmarks
    moving: Landmarks
    sentences: tuple[str, ...]
    only_fixed: tuple[str, ...]
    only_moving: tuple[str, ...]


def match_landmarks(fixed: Landmarks, moving: Landmarks) -> Matched:
    """Pair the points of ``fixed`` (CT) with those of ``moving`` (MR), any order; names become those of ``fixed``.

    Names are compared in Unicode form NFC with outer and repeated spaces trimmed. What is left is compared without
    capitals and with spaces, hyphens and underscores as one; such a pair must be the only one, and is said. Names that
    only one list has are left out, and said.
    """
    pairs = _pairs(fixed.names, moving.names, normal_form)
    left = [[name for name in names if name not in used] for names, used in _used(fixed, moving, pairs)]
    loose = _pairs(left[0], left[1], _loosely)
    pairs |= loose
    only_fixed, only_moving = (
        tuple(name for name in names if name not in used) for names, used in _used(fixed, moving, pairs)
    )
    kept = [name for name in fixed.names if name in pairs]
    sentences = [
        f"Landmark {moving_name} of the MR list was taken for {name} of the CT list, because the names differ in "
        "capitals, spaces, hyphens or underscores only; spell them alike."
        for name, moving_name in loose.items()
    ]
    return Matched(
        Landmarks(tuple(kept), fixed.points_mm[[fixed.names.index(name) for name in kept]]),
        Landmarks(tuple(kept), moving.points_mm[[moving.names.index(pairs[name]) for name in kept]]),
        (*sentences, *_left_out(len(kept), only_fixed, only_moving)),
        only_fixed,
        only_moving,
    )


def _left_out(count: int, only_fixed: Sequence[str], only_moving: Sequence[str]) -> list[str]:
    if not only_fixed and not only_moving:
        return []
    return [
        f"Only the {count} landmarks whose names both lists have were used; left out were {listed(only_fixed)} of the "
        f"CT list and {listed(only_moving)} of the MR list: rename them in Slicer if they are the same points."
    ]


def _used(
    fixed: Landmarks, moving: Landmarks, pairs: dict[str, str]
) -> tuple[tuple[tuple[str, ...], set[str]], tuple[tuple[str, ...], set[str]]]:
    return (fixed.names, set(pairs)), (moving.names, set(pairs.values()))


def _pairs(fixed: Sequence[str], moving: Sequence[str], form: Callable[[str], str]) -> dict[str, str]:
    """Return fixed name -> moving name where both have one form, and no other name of either list has it."""
    forms = [[form(name) for name in names] for names in (fixed, moving)]
    single = [{each for each in one if one.count(each) == 1} for one in forms]
    return {
        name: moving[forms[1].index(each)]
        for name, each in zip(fixed, forms[0], strict=True)
        if each in single[0] and each in single[1]
    }


def _loosely(name: str) -> str:
    return _LOOSE.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()
