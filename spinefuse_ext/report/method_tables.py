"""The tables of a comparison of segmentation methods over seeds: scores, tests, and the worth of unlabelled images."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinefuse_ext.report.comparison import Comparison, MeanSd, score_names
from spinefuse_ext.report.seed_scores import (
    MEAN,
    SeedScores,
    mean_over_seeds,
    measure,
    measures,
    sd_over_seeds,
    values_of,
)
from spinefuse_ext.report.statistics import LEVEL, bootstrap_interval, holm, one_way_anova, signed_rank_p
from spinefuse_ext.report.tables import DASH, Table, Value

LOW, HIGH = f"{LEVEL:.0%} low", f"{LEVEL:.0%} high"
_SEED_SD = "SD over seeds"
DICE = "dice"


@dataclass(frozen=True)
class MethodTable(Table):
    """A row a method; the best mean of every marked column is marked, methods in ``unranked`` left out of the race."""

    unranked: frozenset[str] = frozenset()

    def mark(self, column: int, value: Value) -> str:
        wins = self.better.get(self.header[column])
        ranked = [row[column] for row in self.rows if row[0] not in self.unranked]
        numbers = [float(number) for number in ranked if isinstance(number, float) and math.isfinite(number)]
        if wins is None or len(numbers) < 2 or min(numbers) == max(numbers) or not any(value is one for one in ranked):
            return ""
        return "best" if value == (max(numbers) if wins == "high" else min(numbers)) else ""


def main_table(scores: SeedScores, unranked: Collection[str] = ()) -> MethodTable:
    """Table 3 of the paper: mean and SD over cases of every measure's mean over structures, and F and P under it.

    Dice also has its bootstrap interval and the SD over seeds. F and P are those of a one-way analysis of variance
    over the ranked methods.
    """
    averaged, names = mean_over_seeds(scores), measures(scores)
    header: list[str] = ["Method", "Seeds"]
    for name in names:
        header += [measure(name).title, *((LOW, HIGH, _SEED_SD) if name == DICE else ())]
    rows: list[tuple[Value, ...]] = []
    for method, seeds in scores.items():
        row: list[Value] = [method, len(seeds)]
        for name in names:
            cases = list(values_of(averaged, method, f"{name} {MEAN}").values())
            row.append(MeanSd.of(cases))
            if name == DICE:
                row += [*bootstrap_interval(cases), sd_over_seeds(seeds, f"{name} {MEAN}")]
        rows.append(tuple(row))
    ranked = [method for method in scores if method not in unranked]
    rows += _anova_rows(averaged, ranked, names)
    count = len(next(iter(averaged.values()), []))
    caption = (
        f"Mean ± standard deviation over {count} case{'s' * (count != 1)}, each the mean over seeds and structures; "
        f"{LEVEL:.0%} bootstrap interval of the mean Dice; F and P of one-way ANOVA; the best of each column is marked"
    )
    better = {measure(name).title: measure(name).better for name in names}
    return MethodTable(
        tuple(header), tuple(rows), caption=caption, better=better, unranked=frozenset([*unranked, "F", "P"])
    )


def _anova_rows(averaged: Comparison, methods: Sequence[str], names: Sequence[str]) -> list[tuple[Value, ...]]:
    f_row: list[Value] = ["F", ""]
    p_row: list[Value] = ["P", ""]
    for name in names:
        f, p = one_way_anova([list(values_of(averaged, method, f"{name} {MEAN}").values()) for method in methods])
        blank: list[Value] = ["", "", ""] if name == DICE else []
        f_row += [f"{f:.3f}" if math.isfinite(f) else DASH, *blank]
        p_row += [p_text(p), *blank]
    return [tuple(f_row), tuple(p_row)]


def p_text(p: float) -> str:
    """A P value as papers print it."""
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def measure_table(scores: SeedScores, name: str, unranked: Collection[str] = ()) -> MethodTable:
    """One measure by structure: mean and SD over cases, and the interval and seed SD of the mean over structures."""
    averaged, prefix = mean_over_seeds(scores), f"{name} "
    columns = [found.removeprefix(prefix) for found in score_names(averaged) if found.startswith(prefix)]
    rows: list[tuple[Value, ...]] = []
    for method, seeds in scores.items():
        cells = [MeanSd.of(list(values_of(averaged, method, prefix + column).values())) for column in columns]
        interval = bootstrap_interval(list(values_of(averaged, method, prefix + MEAN).values()))
        rows.append((method, *cells, *interval, sd_over_seeds(seeds, prefix + MEAN)))
    about = measure(name)
    return MethodTable(
        ("Method", *columns, LOW, HIGH, _SEED_SD),
        tuple(rows),
        caption=f"{about.title} of each structure, mean ± standard deviation over cases; {about.better}er is better; "
        f"{LEVEL:.0%} interval and standard deviation over seeds are those of the mean over structures",
        better=dict.fromkeys(columns, about.better),
        unranked=frozenset(unranked),
    )


def paired_table(scores: SeedScores, name: str, unranked: Collection[str] = ()) -> Table:
    """The first method against each other one on the same cases: difference, interval, signed-rank P and Holm's P."""
    averaged, (first, *others) = mean_over_seeds(scores), scores
    others = [other for other in others if other not in unranked]
    about, score = measure(name), f"{name} {MEAN}"
    pairs = [_paired(averaged, first, other, score) for other in others]
    p_values = [signed_rank_p(mine, theirs) for mine, theirs in pairs]
    rows: list[tuple[Value, ...]] = []
    for other, (mine, theirs), p, corrected in zip(others, pairs, p_values, holm(p_values), strict=True):
        differences = [one - another for one, another in zip(mine, theirs, strict=True)]
        won = sum((value > 0) if about.better == "high" else (value < 0) for value in differences)
        spread = MeanSd.of(differences)
        rows.append((other, spread, *bootstrap_interval(differences), f"{won} of {spread.count}", p, corrected))
    return Table(
        (f"{first} less", about.title, LOW, HIGH, "Cases better", "P", "P, Holm"),
        tuple(rows),
        caption=f"{about.title} of {first} less that of each other on the same cases: mean ± standard deviation, "
        f"{LEVEL:.0%} bootstrap interval of the mean, two-sided P of Wilcoxon's signed-rank test, and the same "
        f"corrected for {len(rows)} comparisons by Holm",
    )


def _paired(averaged: Comparison, first: str, second: str, score: str) -> tuple[list[float], list[float]]:
    """Values of two methods on the cases where both are finite."""
    mine, theirs = values_of(averaged, first, score), values_of(averaged, second, score)
    both = [case for case in mine if math.isfinite(mine[case]) and math.isfinite(theirs.get(case, math.nan))]
    return [mine[case] for case in both], [theirs[case] for case in both]


def best_control(scores: SeedScores, controls: Collection[str]) -> str | None:
    """The supervised control with the highest mean Dice, None when none was run."""
    averaged = mean_over_seeds(scores)
    means = {name: _mean_dice(averaged, name) for name in controls if name in scores}
    return max(means, key=lambda name: means[name] if math.isfinite(means[name]) else -1.0, default=None)


def gap_table(scores: SeedScores, controls: Collection[str], all_labels: str) -> Table:
    """Which share of the Dice between the best supervised control and all labels each method closes.

    The share is (method - control) / (all labels - control) of the mean Dice, with its bootstrap interval over cases;
    NaN, shown as a dash, when all labels are no better than the few. No rows without a control or ``all_labels``.
    """
    control = best_control(scores, controls)
    averaged, rows = mean_over_seeds(scores), []
    methods = [name for name in scores if name not in controls and name != all_labels]
    if control is not None and all_labels in scores:
        rows = [(method, *_share(averaged, method, control, all_labels)) for method in methods]
    caption = (
        f"Share of the gap closed: (method less {control}) / ({all_labels} less {control}) of the mean Dice; 0 is as "
        f"good as the better supervised control, 1 as with all labels; {LEVEL:.0%} bootstrap interval over cases"
    )
    return Table(("Method", "Share", LOW, HIGH, "Dice gained"), tuple(rows), caption=caption)


def gap_of(scores: SeedScores, control: str, all_labels: str) -> tuple[float, float, float]:
    """Mean Dice that all labels gain over a control on the same cases, and its bootstrap interval."""
    mine, theirs = _paired(mean_over_seeds(scores), all_labels, control, f"{DICE} {MEAN}")
    gains = [one - another for one, another in zip(mine, theirs, strict=True)]
    return float(MeanSd.of(gains)), *bootstrap_interval(gains)


def _share(averaged: Comparison, method: str, control: str, all_labels: str) -> tuple[Value, ...]:
    by_case = [values_of(averaged, name, f"{DICE} {MEAN}") for name in (method, control, all_labels)]
    cases = [case for case in by_case[0] if all(math.isfinite(one.get(case, math.nan)) for one in by_case)]
    ours, low, high = ([one[case] for case in cases] for one in by_case)
    if not cases:
        return math.nan, math.nan, math.nan, math.nan
    gained, gap = np.mean(ours) - np.mean(low), np.mean(high) - np.mean(low)
    if not gap > 0:
        return math.nan, math.nan, math.nan, float(gained)
    return float(gained / gap), *bootstrap_interval(ours, low, high, statistic=_ratio), float(gained)


def _ratio(ours: Any, low: Any, high: Any, axis: int = -1) -> Any:
    gap = np.mean(high, axis=axis) - np.mean(low, axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of cases without a gap
        return np.nan_to_num((np.mean(ours, axis=axis) - np.mean(low, axis=axis)) / gap)


def warnings_of(scores: SeedScores, controls: Collection[str], references: Collection[str] = ()) -> list[str]:
    """A sentence for each semi-supervised method whose mean Dice is below that of the best supervised control."""
    control = best_control(scores, controls)
    if control is None:
        return []
    averaged = mean_over_seeds(scores)
    floor = _mean_dice(averaged, control)
    sentences = []
    for method in scores:
        mean = _mean_dice(averaged, method)
        if method in controls or method in references or not mean < floor:
            continue
        mine, theirs = _paired(averaged, method, control, f"{DICE} {MEAN}")
        worse = sum(one < another for one, another in zip(mine, theirs, strict=True))
        sentences.append(
            f"{method} is worse than its supervised control: mean Dice {mean:.3f}, {control} has {floor:.3f} "
            f"(lower on {worse} of {len(mine)} cases). Here the unlabelled images did not help."
        )
    return sentences


def best_checkpoint_table(last: SeedScores, best: SeedScores) -> Table:
    """All measures with the best checkpoint on the validation cases, and its Dice less that of the last one."""
    averaged, others = mean_over_seeds(best), mean_over_seeds(last)
    names = measures(best)
    rows: list[tuple[Value, ...]] = []
    for method in best:
        cells = [MeanSd.of(list(values_of(averaged, method, f"{name} {MEAN}").values())) for name in names]
        mine, theirs = _paired({"best": averaged[method], "last": others[method]}, "best", "last", f"{DICE} {MEAN}")
        gained = MeanSd.of([one - another for one, another in zip(mine, theirs, strict=True)])
        rows.append((method, *cells, gained))
    return Table(
        ("Method", *(measure(name).title for name in names), "Dice, best less last"),
        tuple(rows),
        caption="The best checkpoint on the validation cases, mean ± standard deviation over cases",
    )


def _mean_dice(averaged: Comparison, method: str) -> float:
    return float(MeanSd.of(list(values_of(averaged, method, f"{DICE} {MEAN}").values())))


def lead(scores: SeedScores, unranked: Collection[str] = ()) -> tuple[int, int]:
    """Place of the first method by mean Dice among the ranked ones, and their number; without a Dice the last."""
    averaged = mean_over_seeds(scores)
    means: Mapping[str, float] = {name: _mean_dice(averaged, name) for name in scores if name not in unranked}
    mine = _mean_dice(averaged, next(iter(scores)))
    return (1 + sum(mean > mine for mean in means.values()) if math.isfinite(mine) else len(means)), len(means)
