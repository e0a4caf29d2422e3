"""The table of a federation: how every site's weights, and the average, do on every site's validation cases."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from spinefuse_ext.enums import FederatedModel
from spinefuse_ext.files import atomic_write

#: In the column of the scored site: the mean over the validation cases of all sites.
POOLED = "pooled"
_PLACE = ("round", "model", "trained_at", "scored_at", "validation_cases")


@dataclass(frozen=True)
class _Row:
    number: int
    model: str
    trained_at: str
    scored_at: str
    cases: int
    metrics: Mapping[str, float]


@dataclass
class FederatedScores:
    """Scores by round, weights and site; each addition comes with a row of the mean over all validation cases.

    Args:
        cases: number of validation cases of each site, by the site's name.
        key_metric: the metric that the verdict goes by; higher is better.
    """

    cases: Mapping[str, int]
    key_metric: str
    rows: list[_Row] = field(default_factory=list)

    def add(self, number: int, model: str, trained_at: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Note the metrics that weights of round ``number`` reached at each site, by the site's name."""
        for site, values in metrics.items():
            self.rows.append(_Row(number, model, trained_at, site, self.cases[site], values))
        names = list(next(iter(metrics.values())))
        pooled = {name: self._pooled({site: values[name] for site, values in metrics.items()}) for name in names}
        total = sum(self.cases[site] for site in metrics)
        self.rows.append(_Row(number, model, trained_at, POOLED, total, pooled))

    def pooled(self, model: str, number: int) -> dict[str, float]:
        """The key metric over all validation cases, by where the weights were trained."""
        return {
            row.trained_at: row.metrics[self.key_metric]
            for row in self.rows
            if (row.model, row.number, row.scored_at) == (model, number, POOLED)
        }

    def write(self, path: Path) -> None:
        """Write the table as CSV, whole."""
        names = list(self.rows[0].metrics) if self.rows else []
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*_PLACE, *names])
            for row in self.rows:
                place = [row.number, row.model, row.trained_at, row.scored_at, row.cases]
                writer.writerow([*place, *(f"{row.metrics[name]:.6g}" for name in names)])

    def verdict(self, number: int) -> str:
        """A sentence: whether the average after round ``number`` beats the mean of the sites alone."""
        together = next(iter(self.pooled(FederatedModel.GLOBAL, number).values()))
        told = f"{self.key_metric} over the {sum(self.cases.values())} validation cases of {len(self.cases)} sites: "
        told += f"{together:.3f} with the weights of the federation"
        alone = self.pooled(FederatedModel.ALONE, number)
        if not alone:
            return f"{told}; the sites were not trained alone, so there is nothing to compare it with."
        alone = {site: score for site, score in alone.items() if math.isfinite(score)}
        if not alone or not math.isfinite(together):
            return f"{told}; no structure of the truth could be scored, so there is nothing to compare."
        mean, best = fmean(alone.values()), max(alone, key=lambda site: alone[site])
        beats = "beats" if together > mean else "does not beat"
        return (
            f"{told}, {mean:.3f} on average with those of a site alone (the best, {best}: {alone[best]:.3f}); "
            f"the federation {beats} the mean of the sites alone."
        )

    def _pooled(self, values: Mapping[str, float]) -> float:
        """Mean over cases; a site whose score is not defined (a structure that it lacks) does not count."""
        known = {site: value for site, value in values.items() if math.isfinite(value)}
        total = sum(self.cases[site] for site in known)
        return sum(self.cases[site] * value for site, value in known.items()) / total if total else math.nan


def score_at(metric: str, metrics: Mapping[str, Mapping[str, float]], sites: Sequence[str]) -> str:
    """One metric at each site, in words: ``a 0.71, b 0.64``."""
    return ", ".join(f"{site} {metrics[site][metric]:.3f}" for site in sites)
