"""Scores of methods that were run with several seeds: the mean over seeds of each case, and the spread of the seeds."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spinefuse_ext.files import atomic_write
from spinefuse_ext.report.comparison import Comparison, MeanSd, ScoreRow, score_names

#: Per method and seed, the scores of the cases.
SeedScores = Mapping[str, Mapping[int, Sequence[ScoreRow]]]
#: The name under which a measure's mean over structures stands among the structures.
MEAN = "mean"
#: The measure of what was predicted of a structure that the truth does not hold.
FALSE_VOLUME = "false_volume_ml"


@dataclass(frozen=True)
class Measure:
    """How a measure is called in tables, and which of its values win."""

    title: str
    better: Literal["high", "low"] = "high"


_KNOWN = {
    "dice": Measure("Dice"),
    "jaccard": Measure("Jaccard"),
    "surface_dice": Measure("Surface Dice"),
    "hd95_mm": Measure("HD95 (mm)", "low"),
    "asd_mm": Measure("ASD (mm)", "low"),
}


def measure(name: str) -> Measure:
    """What is known of a measure; one without an entry is a distance, lower is better, when it ends with ``_mm``."""
    return _KNOWN.get(name) or Measure(name, "low" if name.endswith("_mm") else "high")


def measures(scores: SeedScores) -> list[str]:
    """Names of the measures of ``"measure structure"`` scores: Dice and Jaccard first, then as in :func:`measure`.

    False volumes are no measure of a method: they are only of cases whose truth lacks a structure.
    """
    found = dict.fromkeys(
        name.partition(" ")[0]
        for seeds in scores.values()
        for cases in seeds.values()
        for one in cases
        for name in one.values
    )
    others = [name for name in found if name not in _KNOWN and name != FALSE_VOLUME]
    return [*(name for name in _KNOWN if name in found), *others]


def mean_over_seeds(scores: SeedScores) -> dict[str, list[ScoreRow]]:
    """The scores of each case, averaged over the seeds that have a finite value: one entry a method and case."""
    averaged = {}
    for method, seeds in scores.items():
        runs: dict[str, list[Mapping[str, float]]] = {}
        for cases in seeds.values():
            for one in cases:
                runs.setdefault(one.case, []).append(one.values)
        averaged[method] = [
            ScoreRow(
                case, None, {name: float(MeanSd.of([run.get(name, math.nan) for run in values])) for name in names}
            )
            for case, values in runs.items()
            for names in [dict.fromkeys(name for run in values for name in run)]
        ]
    return averaged


def sd_over_seeds(seeds: Mapping[int, Sequence[ScoreRow]], name: str) -> float:
    """Sample SD over seeds of one score's mean over cases; NaN with fewer than two seeds."""
    means = [float(MeanSd.of([one.values.get(name, math.nan) for one in cases])) for cases in seeds.values()]
    finite = [mean for mean in means if math.isfinite(mean)]
    return statistics.stdev(finite) if len(finite) > 1 else math.nan


def undefined_scores(scores: SeedScores) -> list[str]:
    """A sentence for each method and score without a finite value on some cases of some seeds."""
    sentences = []
    for method, seeds in scores.items():
        runs = [one for cases in seeds.values() for one in cases]
        for name in score_names({method: runs}):
            missing = sum(not math.isfinite(one.values.get(name, math.nan)) for one in runs)
            if missing and not name.endswith(f" {MEAN}") and not name.startswith(FALSE_VOLUME):
                sentences.append(f"{name} of {method} is not defined in {missing} of {len(runs)} segmentations.")
    return sentences


def values_of(scores: Comparison, method: str, name: str) -> dict[str, float]:
    """One score of a method by case."""
    return {one.case: one.values.get(name, math.nan) for one in scores[method]}


def write_all_scores(path: str | Path, scores: SeedScores) -> None:
    """Write every number as ``method,seed,case,score,value``, a row each, for calculation elsewhere."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "seed", "case", "score", "value"))
        writer.writerows(
            (method, seed, one.case, name, repr(value))
            for method, seeds in scores.items()
            for seed, cases in seeds.items()
            for one in cases
            for name, value in one.values.items()
        )
