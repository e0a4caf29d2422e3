"""Names of levels: from what is known of one of them, counted on along the spine, with what may be otherwise said."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from spinefuse_ext.levels.ids import EXTRA, HEAD_DOWN
from spinefuse_ext.validation import LevelsError

#: Without T13 and L6, which stand in a spine only where two names that are known leave room for one more.
_USUAL = tuple(name for name in HEAD_DOWN if name not in EXTRA)
_LUMBAR = 5


@dataclass(frozen=True)
class Anchor:
    """A vertebra whose name is known: its rank from the head, the name, and how it is known.

    ``given``: somebody said so; else the image shows it.
    """

    rank: int
    name: str
    evidence: str
    given: bool = True


@dataclass(frozen=True)
class Naming:
    """Name and evidence of each rank; ``doubts`` in sentences."""

    names: dict[int, str]
    evidence: dict[int, str]
    relative: bool
    named_by: str
    doubts: tuple[str, ...]

    def disc(self, rank: int) -> str:
        """The name of the disc below the vertebra of a rank."""
        return f"{self.names[rank]}/{self.names[rank + 1]}"


def name_ranks(ranks: Sequence[int], anchors: Sequence[Anchor]) -> Naming:
    """Name every rank from the first of ``ranks`` to the last, by the anchors, or relative (V1, V2) without any.

    A given name counts before the sacrum of the image. Where two names have one vertebra too many between them in a
    spine of 12 and 5, and the border of thorax and loin, or of loin and sacrum, lies there, it is T13 or L6, and said.

    Raises:
        LevelsError: Two given names contradict each other, or there are more levels than names.
    """
    every = list(range(min(ranks), max(ranks) + 1))
    if not anchors:
        names = {rank: f"V{place}" for place, rank in enumerate(every, 1)}
        why = "counted from the upper end of what is seen"
        return Naming(
            names,
            dict.fromkeys(every, why),
            relative=True,
            named_by="nothing: neither the sacrum is seen nor the name of a level given",
            doubts=("Names count what is seen (V1, V2, ...), for nothing tells which level is which.",),
        )
    ordered = sorted(anchors, key=lambda anchor: anchor.rank)
    given = [anchor for anchor in ordered if anchor.given]
    _check_given(given)
    spine, doubts = _spine(ordered, given or ordered)
    lead = (given or ordered)[-1]
    offset = spine.index(lead.name) - lead.rank
    if every[0] + offset < 0 or every[-1] + offset >= len(spine):
        raise LevelsError(
            f"Counted from {lead.name} ({lead.evidence}), {len(every)} levels reach past the "
            f"{'head' if every[0] + offset < 0 else 'sacrum'}; check that name, or the label volume."
        )
    names = {rank: spine[rank + offset] for rank in every}
    evidence = {rank: _evidence(rank, names[rank], given or ordered) for rank in every}
    return Naming(names, evidence, relative=False, named_by=lead.evidence, doubts=tuple(doubts))


def _check_given(given: Sequence[Anchor]) -> None:
    for upper, lower in itertools.pairwise(given):
        apart = HEAD_DOWN.index(lower.name) - HEAD_DOWN.index(upper.name)
        usual = apart - sum(
            HEAD_DOWN.index(upper.name) < HEAD_DOWN.index(each) < HEAD_DOWN.index(lower.name) for each in EXTRA
        )
        seen = lower.rank - upper.rank
        if not usual - 1 <= seen <= apart or (seen == 0 and upper.name != lower.name):
            raise LevelsError(
                f"{upper.name} ({upper.evidence}) and {lower.name} ({lower.evidence}) are given, which lie {usual} "
                f"levels apart, but the labels show {seen}; correct one of them."
            )


def _spine(ordered: Sequence[Anchor], trusted: Sequence[Anchor]) -> tuple[list[str], list[str]]:
    """Names from the head down that fit the anchors, and doubts about them."""
    spine, doubts = list(_USUAL), []
    trusted_names = {anchor.name for anchor in trusted} & set(EXTRA)
    for name in trusted_names:
        spine.insert(spine.index("L1" if name == "T13" else "S1"), name)
    for upper, lower in itertools.pairwise(ordered):
        more = (lower.rank - upper.rank) - (spine.index(lower.name) - spine.index(upper.name))
        between = f"between {upper.name} ({upper.evidence}) and {lower.name} ({lower.evidence})"
        if more == 0:
            continue
        loins = [
            spine.index(upper.name) <= spine.index(border) - 1 < spine.index(lower.name) for border in ("L1", "S1")
        ]
        if more == 1 and any(loins):
            extra = "L6" if loins[1] else "T13"
            spine.insert(spine.index("S1" if extra == "L6" else "L1"), extra)
            other = " or a T13" if all(loins) else ""
            doubts.append(
                f"There is one vertebra more {between} than usual: possibly an {extra}{other}; named {extra}."
            )
        elif more == -1 and loins[1]:
            spine.remove("L5")
            doubts.append(
                f"There is one vertebra fewer {between} than usual: possibly four lumbar vertebrae, or a sacralised L5."
            )
        else:
            doubts.append(
                f"The labels show {abs(more)} vertebrae {'more' if more > 0 else 'fewer'} {between} than usual."
            )
    return spine, doubts


def _evidence(rank: int, name: str, anchors: Sequence[Anchor]) -> str:
    nearest = min(anchors, key=lambda anchor: abs(anchor.rank - rank))
    if nearest.rank == rank:
        return nearest.evidence
    way = "up" if rank < nearest.rank else "down"
    return f"counted {way} {abs(rank - nearest.rank)} from {nearest.name} ({nearest.evidence})"


def assumption(naming: Naming, anchors: Sequence[Anchor]) -> list[str]:
    """What names assume that the image does not show: five lumbar vertebrae, where only the sacrum is known."""
    lumbar = [name for name in naming.names.values() if name.startswith("L")]
    if naming.relative or any(anchor.given for anchor in anchors) or not lumbar:
        return []
    return [
        f"Names count up from the sacrum and assume {_LUMBAR} lumbar vertebrae; 4 or 6 are possible, and only ribs or "
        "the whole spine tell. Give a level that is known by --anchor."
    ]
