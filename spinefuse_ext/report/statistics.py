"""Statistics of a comparison whose methods were scored on the same cases: the unit is the case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

#: Coverage of every interval, and the resamples that it is made of.
LEVEL, RESAMPLES = 0.95, 9999


def bootstrap_interval(
    *samples: Sequence[float], statistic: Callable[..., Any] = np.mean, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval over cases (Efron, 1979), with 9,999 resamples and a fixed seed.

    Args:
        samples: ``(n,)`` values by case; of several, a case's values are drawn together. Values that are not finite
            drop the case.
        statistic: of the samples, over ``axis``; the mean without it.
        seed: of the resampling.

    Returns:
        Lower and upper end; NaN with fewer than two cases.
    """
    values = np.asarray(samples, dtype=float)
    values = values[:, np.isfinite(values).all(axis=0)]
    if values.shape[1] < 2:
        return math.nan, math.nan
    made = stats.bootstrap(
        tuple(values),
        statistic,
        paired=len(values) > 1,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(seed),
    )
    return float(made.confidence_interval.low), float(made.confidence_interval.high)


def one_way_anova(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """F and P of a one-way analysis of variance, as if the groups were independent samples.

    NaN with fewer than two groups of two values each, or when nothing varies.
    """
    finite = [[value for value in group if math.isfinite(value)] for group in groups]
    if len(finite) < 2 or min(len(group) for group in finite) < 2 or len({v for group in finite for v in group}) == 1:
        return math.nan, math.nan
    if all(len(set(group)) == 1 for group in finite):  # scipy warns, and says the same
        return math.inf, 0.0
    made = stats.f_oneway(*finite)
    return float(made.statistic), float(made.pvalue)


def signed_rank_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided P of Wilcoxon's signed-rank test of paired values; equal pairs are left out.

    Exact for up to 50 pairs. 1 when all pairs are equal, NaN without a pair of finite values.
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    differences = differences[np.isfinite(differences)]
    if differences.size == 0:
        return math.nan
    differences = differences[differences != 0]
    return float(stats.wilcoxon(differences).pvalue) if differences.size else 1.0


def smallest_p(pairs: int) -> float:
    """The smallest two-sided P that the signed-rank test of so many pairs can give: all differences of one sign."""
    return 2.0 ** (1 - pairs) if pairs > 0 else math.nan


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down rule (1979), in the given order; NaN stays NaN."""
    corrected = [math.nan] * len(p_values)
    known = sorted((p, place) for place, p in enumerate(p_values) if math.isfinite(p))
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected
