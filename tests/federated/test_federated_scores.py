from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from spinefuse_ext.federated import FederatedScores


def scores(together: float, *alone: float) -> FederatedScores:
    table = FederatedScores({"north": 1, "south": 3}, "dice")
    table.add(2, "global", "pooled", {"north": {"dice": together}, "south": {"dice": together}})
    for site, value in zip(table.cases, alone, strict=False):
        table.add(2, "alone", site, {"north": {"dice": value}, "south": {"dice": value}})
    return table


def test_a_pooled_score_counts_each_site_by_its_cases() -> None:
    table = FederatedScores({"north": 1, "south": 3}, "dice")
    table.add(1, "global", "pooled", {"north": {"dice": 0.2, "iou": 0.1}, "south": {"dice": 0.6, "iou": math.nan}})
    assert table.pooled("global", 1) == {"pooled": pytest.approx(0.5)}
    assert table.rows[-1].metrics["iou"] == pytest.approx(0.1)
    assert table.rows[-1].cases == 4


@pytest.mark.parametrize(
    ("together", "told"),
    [(0.8, "the federation beats the mean"), (0.4, "does not beat"), (0.5, "does not beat")],
)
def test_the_verdict_compares_with_the_mean_and_names_the_best(together: float, told: str) -> None:
    sentence = scores(together, 0.3, 0.7).verdict(2)
    assert told in sentence
    assert f"over the 4 validation cases of 2 sites: {together:.3f}" in sentence
    assert "0.500 on average" in sentence
    assert "the best, south: 0.700" in sentence


def test_without_sites_alone_there_is_no_verdict() -> None:
    assert "nothing to compare it with" in scores(0.8).verdict(2)


def test_the_table_has_a_row_for_each_model_and_site(tmp_path: Path) -> None:
    scores(0.8, 0.3, 0.7).write(tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert [(row["model"], row["trained_at"], row["scored_at"]) for row in rows[:3]] == [
        ("global", "pooled", "north"),
        ("global", "pooled", "south"),
        ("global", "pooled", "pooled"),
    ]
    assert len(rows) == 9
    assert {row["round"] for row in rows} == {"2"}
    assert float(rows[-1]["dice"]) == pytest.approx(0.7)
