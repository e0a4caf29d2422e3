"""Several scores of several methods taken together: where each method stands in each, and on average."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from scipy.stats import rankdata

from spinefuse_ext.report.comparison import Comparison, MeanSd
from spinefuse_ext.report.fusion_section import SHORT_NAMES
from spinefuse_ext.report.tables import Table, Value

#: The scores of a fused image that compare it with both of its sources and do not rise with noise.
JUDGED = (
    "mutual_information",
    "visual_information_fidelity",
    "edge_preservation",
    "structural_similarity",
)


def rank_table(scores: Comparison, names: Sequence[str] = JUDGED, *, unranked: Collection[str] = ()) -> Table:
    """Rank of every method by its mean over slices in each score, 1 for the best, and the mean of these ranks.

    Equal means share the mean of their ranks. Without two methods to rank, or a score of ``names`` that all of them
    have, the table has no rows.

    Args:
        scores: slices of each method.
        names: scores taken together; those that were not made are left out.
        unranked: methods that are no competitors.
    """
    methods = [method for method in scores if method not in unranked]
    means = np.array([[_mean(scores, method, name) for method in methods] for name in names])
    held = [row for row, values in enumerate(means) if len(methods) > 1 and np.isfinite(values).all()]
    columns = [SHORT_NAMES.get(names[row], names[row]) for row in held]
    ranks: list[list[float]] = rankdata(-means[held], axis=1).T.tolist() if held else []
    rows: list[tuple[Value, ...]] = [
        (method, *row, float(np.mean(row))) for method, row in zip(methods, ranks, strict=bool(held))
    ]
    return Table(
        ("Method", *columns, "Mean rank"),
        tuple(rows),
        caption=f"{', '.join(columns)} together: rank of each method by its mean, 1 is the best",
        digits=1,
        better=dict.fromkeys((*columns, "Mean rank"), "low"),
    )


def _mean(scores: Comparison, method: str, name: str) -> float:
    return float(MeanSd.of([one.values.get(name, math.nan) for one in scores[method]]))
