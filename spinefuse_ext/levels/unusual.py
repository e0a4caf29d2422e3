"""Ranks of bodies and discs along the spine, with gaps counted, and sentences about shapes that are unusual."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from spinefuse_ext.levels.tube import Column, Span

#: Bodies this many usual distances apart have a level between them that the labels lack.
_GAP = 1.65
#: A last disc or body lower than this part of the one above it may be of a transitional vertebra.
_LOW_DISC = 0.45


def ranks_of_bodies(spans: Column) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rank of each body from the head, and of each disc that of the vertebra above it.

    A body that is missing counts: between two discs with none between them, or where bodies lie far apart.
    """
    bodies, discs = spans.bodies, spans.discs
    ranks = [0]
    for upper, lower in itertools.pairwise(bodies):
        between = sum(upper.middle < disc.middle < lower.middle for disc in discs)
        far = (lower.middle - upper.middle) / spans.pitch_mm
        step = max(between, round(far) if far > _GAP else 1, 1)
        ranks.append(ranks[-1] + step)
    return _from_zero(ranks, [_disc_rank(disc, bodies, ranks, discs) for disc in discs])


def _disc_rank(disc: Span, bodies: Sequence[Span], ranks: Sequence[int], discs: Sequence[Span]) -> int:
    above = [place for place, body in enumerate(bodies) if body.middle < disc.middle]
    start = bodies[above[-1]].middle if above else -np.inf
    stop = next((body.middle for body in bodies if body.middle > disc.middle), np.inf)
    fellows = [each for each in discs if start < each.middle < stop]
    if not above:
        return ranks[0] - len(fellows) + fellows.index(disc)
    return ranks[above[-1]] + fellows.index(disc)


def _from_zero(ranks: Sequence[int], discs: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    lowest = min([*ranks, *discs])
    return tuple(rank - lowest for rank in ranks), tuple(rank - lowest for rank in discs)


def shape_doubts(spans: Column, ranks: Sequence[int], names: Mapping[int, str]) -> list[str]:
    """Sentences about levels that are missing, fused, or possibly transitional."""
    doubts = []
    for (upper, lower), (above, below) in zip(
        zip(spans.bodies, spans.bodies[1:], strict=False), itertools.pairwise(ranks), strict=True
    ):
        if below - above > 1:
            absent = ", ".join(names[rank] for rank in range(above + 1, below))
            doubts.append(
                f"Between {names[above]} and {names[below]}, {lower.middle - upper.middle:.0f} mm apart, no vertebra "
                f"was labelled; {absent} is counted there."
            )
        elif upper.shape_cut and lower.shape_cut and lower.start - upper.stop < 1:
            doubts.append(
                f"{names[above]} and {names[below]} are one piece in the labels and were divided where bone is least: "
                "possibly fused, or the disc was not found."
            )
    return [*doubts, *_transitional(spans, names, ranks)]


def _transitional(spans: Column, names: Mapping[int, str], ranks: Sequence[int]) -> list[str]:
    if spans.sacrum is None or not spans.discs:
        return []
    doubts = []
    within = [disc for disc in spans.discs if disc.start > spans.sacrum + 8]
    if within:
        doubts.append("A disc lies within the sacrum: its first segment is possibly lumbarised (a transitional S1).")
    above = [disc for disc in spans.discs if disc.middle < spans.sacrum + 3]
    last = spans.bodies[-1]
    if not any(disc.middle > last.middle for disc in above):
        doubts.append(
            f"No disc was found between {names[ranks[-1]]} and the sacrum: possibly sacralised (a transitional "
            "vertebra), or the disc was missed."
        )
    elif len(above) > 2 and above[-1].length < _LOW_DISC * float(np.median([disc.length for disc in above[:-1]])):
        doubts.append(
            f"The disc above the sacrum is low ({above[-1].length:.0f} mm of usually "
            f"{np.median([disc.length for disc in above[:-1]]):.0f} mm): a transitional vertebra is possible."
        )
    return doubts
