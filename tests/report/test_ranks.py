from __future__ import annotations

import math

import pytest

from spinefuse_ext.report.comparison import Comparison, ScoreRow
from spinefuse_ext.report.ranks import rank_table

MI, VIF, EN = "mutual_information", "visual_information_fidelity", "entropy"


def one_slice(mi: float, vif: float) -> list[ScoreRow]:
    return [ScoreRow("case", 0, {MI: mi, VIF: vif, EN: 9.0})]


@pytest.fixture
def scores() -> Comparison:
    return {"ours": one_slice(2.0, 0.6), "max": one_slice(3.0, 0.5), "mean": one_slice(2.0, 0.4), "mr": one_slice(4, 1)}


def test_methods_are_ranked_in_the_judged_scores_and_on_average(scores: Comparison) -> None:
    table = rank_table(scores, unranked=["mr"])
    assert table.header == ("Method", "MI", "VIF", "Mean rank")  # entropy is not judged, the others were not made
    # 2.0 of ours and of mean share the ranks 2 and 3 behind max
    assert table.rows == (("ours", 2.5, 1.0, 1.75), ("max", 1.0, 2.0, 1.5), ("mean", 2.5, 3.0, 2.75))
    assert table.mark(3, 1.5) == "best"
    assert table.mark(3, 2.75) == "worst"


def test_a_reference_is_ranked_when_nobody_says_that_it_is_one(scores: Comparison) -> None:
    assert rank_table(scores).rows[-1] == ("mr", 1.0, 1.0, 1.0)


def test_the_mean_over_slices_decides() -> None:
    uneven = [ScoreRow("a", 0, {MI: 1.0}), ScoreRow("b", 0, {MI: 4.0}), ScoreRow("b", 1, {MI: math.nan})]
    even = [ScoreRow("a", 0, {MI: 2.0}), ScoreRow("b", 0, {MI: 2.0}), ScoreRow("b", 1, {MI: 2.0})]
    assert rank_table({"even": even, "uneven": uneven}).rows == (("even", 2.0, 2.0), ("uneven", 1.0, 1.0))


def test_nothing_to_rank_gives_no_rows(scores: Comparison) -> None:
    assert rank_table({"ours": scores["ours"]}).rows == ()
    assert rank_table(scores, ["absent"]).rows == ()
