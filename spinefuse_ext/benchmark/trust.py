"""Does trust tell which structures are wrong? Its relation to the true Dice over all that was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from scipy import stats

from spinefuse_ext.benchmark.record import Record
from spinefuse_ext.report.palette import CURVE_COLOURS, INK

GOOD_DICE = 0.7


@dataclass(frozen=True)
class Pair:
    """A structure of a case: its trust (0 where it was not found) and its true Dice."""

    structure: str
    trust: float
    dice: float


@dataclass(frozen=True)
class Relation:
    """Correlation of trust with Dice, NaN of fewer than three pairs, and how the flag sorts good from bad.

    ``counts`` are those flagged and bad, flagged and good, not flagged and bad, not flagged and good; flagged is a
    trust below the threshold or a structure that was not found, bad a Dice below 0.7.
    """

    count: int
    spearman: float
    pearson: float
    counts: tuple[int, int, int, int]


def trust_pairs(records: Sequence[Record]) -> list[Pair]:
    """Trust and Dice of every structure that the truth of a record holds; over the labelled rows, as trust is local."""
    return [
        Pair(name, trust if math.isfinite(trust := record.trust.get(name, math.nan)) else 0.0, dice)
        for record in records
        for name, dice in record.scores.dice_rows.items()
        if math.isfinite(dice) and name in record.trust
    ]


def relation(pairs: Sequence[Pair], threshold: float) -> Relation:
    """How trust and Dice go together."""
    trust, dice = [pair.trust for pair in pairs], [pair.dice for pair in pairs]
    varied = len(pairs) > 2 and len(set(trust)) > 1 and len(set(dice)) > 1
    spearman = float(stats.spearmanr(trust, dice).statistic) if varied else math.nan
    pearson = float(stats.pearsonr(trust, dice).statistic) if varied else math.nan
    sorted_ = [(pair.trust < threshold, pair.dice < GOOD_DICE) for pair in pairs]
    cells = ((True, True), (True, False), (False, True), (False, False))
    flagged_bad, flagged_good, passed_bad, passed_good = (sorted_.count(cell) for cell in cells)
    return Relation(len(pairs), spearman, pearson, (flagged_bad, flagged_good, passed_bad, passed_good))


def trust_figure(pairs: Sequence[Pair], threshold: float) -> Figure:
    """A point a structure of a case: trust across, true Dice up, with the lines that the counts of a relation use."""
    figure = Figure(figsize=(6.0, 5.0), layout="constrained")
    ax = figure.subplots()
    for place, name in enumerate(dict.fromkeys(pair.structure for pair in pairs)):
        own = [pair for pair in pairs if pair.structure == name]
        colour = CURVE_COLOURS[place % len(CURVE_COLOURS)]
        ax.scatter([pair.trust for pair in own], [pair.dice for pair in own], s=18, color=colour, label=name, alpha=0.8)
    ax.axvline(threshold, color=INK, linewidth=0.8, linestyle="--")
    ax.axhline(GOOD_DICE, color=INK, linewidth=0.8, linestyle="--")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="trust (no truth is looked at)", ylabel="true Dice")
    if pairs:
        ax.legend(frameon=False)
    return figure
