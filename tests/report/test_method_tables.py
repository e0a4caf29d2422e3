from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from spinefuse_ext.report.comparison import MeanSd, ScoreRow
from spinefuse_ext.report.method_tables import (
    HIGH,
    LOW,
    best_checkpoint_table,
    best_control,
    gap_of,
    gap_table,
    lead,
    main_table,
    measure_table,
    paired_table,
    warnings_of,
)
from spinefuse_ext.report.seed_scores import (
    mean_over_seeds,
    measure,
    measures,
    sd_over_seeds,
    undefined_scores,
    write_all_scores,
)
from spinefuse_ext.report.statistics import bootstrap_interval, one_way_anova
from spinefuse_ext.report.table_files import write_latex, write_table_csv
from spinefuse_ext.report.tables import Table, Value

NAN = math.nan
CONTROLS, ALL = ("unet", "vnet"), "all"
Runs = dict[str, dict[int, list[ScoreRow]]]


def case(name: str, disc: float, hd95: float = 1.0) -> ScoreRow:
    """One structure, so that the mean over structures is its value."""
    return ScoreRow(name, None, {"hd95_mm disc": hd95, "hd95_mm mean": hd95, "dice disc": disc, "dice mean": disc})


def runs(**dice: list[list[float]]) -> Runs:
    """Per method a list a seed of Dice by case; HD95 in mm is ten times what Dice lacks of 1."""
    return {
        method: {
            seed: [case(f"case_{place}", value, 10 * (1 - value)) for place, value in enumerate(values)]
            for seed, values in enumerate(seeds)
        }
        for method, seeds in dice.items()
    }


@pytest.fixture
def scores() -> Runs:
    """Means over seeds: ours 0.6 0.8, unet 0.5 0.6, vnet 0.4 0.5, rival 0.5 0.4, all labels 0.8 0.9."""
    return runs(
        ours=[[0.5, 0.8], [0.7, 0.8]], unet=[[0.5, 0.6]], vnet=[[0.4, 0.5]], rival=[[0.5, 0.4]], all=[[0.8, 0.9]]
    )


def column(table: Table, name: str) -> dict[Value, Value]:
    return {row[0]: row[table.header.index(name)] for row in table.rows}


def test_seeds_are_averaged_case_by_case_whatever_their_order(scores: Runs) -> None:
    shuffled = {**scores, "ours": {seed: cases[::-1] for seed, cases in scores["ours"].items()}}
    for made in (mean_over_seeds(scores), mean_over_seeds(shuffled)):
        by_case = {one.case: one.values["dice disc"] for one in made["ours"]}
        assert by_case == pytest.approx({"case_0": 0.6, "case_1": 0.8})
    # means of the seeds over cases are 0.65 and 0.75
    assert sd_over_seeds(scores["ours"], "dice mean") == pytest.approx(0.1 / math.sqrt(2))
    assert math.isnan(sd_over_seeds(scores["unet"], "dice mean"))


def test_a_seed_without_a_value_is_left_out_and_told() -> None:
    scores = {"ours": {0: [case("a", 0.5, NAN)], 1: [case("a", 0.7, 3.0)]}, "none": {0: [case("a", 0.1, NAN)]}}
    (ours,) = mean_over_seeds(scores)["ours"]
    assert ours.values["hd95_mm disc"] == 3.0
    assert math.isnan(mean_over_seeds(scores)["none"][0].values["hd95_mm disc"])
    assert undefined_scores(scores) == [
        "hd95_mm disc of ours is not defined in 1 of 2 segmentations.",
        "hd95_mm disc of none is not defined in 1 of 1 segmentations.",
    ]


def test_any_measure_is_found_and_distances_are_better_when_low(scores: Runs) -> None:
    odd = {"ours": {0: [ScoreRow("a", None, {"gap_mm disc": 1.0, "dice disc": 1.0, "recall disc": 1.0})]}}
    assert measures(scores) == ["dice", "hd95_mm"]
    assert measures(odd) == ["dice", "gap_mm", "recall"]
    assert [measure(name).better for name in ("dice", "hd95_mm", "gap_mm", "recall")] == ["high", "low", "low", "high"]


def test_table_3_has_mean_sd_interval_seeds_and_the_analysis_of_variance(scores: Runs) -> None:
    table = main_table(scores, [ALL])
    dice = column(table, "Dice")
    assert isinstance(dice["ours"], MeanSd)
    assert (float(dice["ours"]), dice["ours"].sd, dice["ours"].count) == pytest.approx((0.7, 0.1 * math.sqrt(2), 2))
    assert (column(table, LOW)["ours"], column(table, HIGH)["ours"]) == pytest.approx(bootstrap_interval([0.6, 0.8]))
    assert column(table, "Seeds")["ours"] == 2
    f, p = one_way_anova([[0.6, 0.8], [0.5, 0.6], [0.4, 0.5], [0.5, 0.4]])  # all labels are no competitor
    assert (dice["F"], dice["P"]) == (f"{f:.3f}", f"{p:.3f}")
    marks = {row[0]: [table.mark(place, value) for place, value in enumerate(row)] for row in table.rows}
    best = {name for name, found in marks.items() if "best" in found}
    assert best == {"ours"}  # not all labels, though they are better, and not the large F
    assert marks["ours"][table.header.index("HD95 (mm)")] == "best"


def test_p_is_printed_as_in_papers() -> None:
    table = main_table(runs(a=[[0.1, 0.11, 0.12]], b=[[0.9, 0.91, 0.92]]))
    assert column(table, "Dice")["P"] == "< 0.001"
    alone = main_table(runs(a=[[0.1, 0.2]]))
    assert (column(alone, "Dice")["F"], column(alone, "Dice")["P"]) == ("\N{EN DASH}", "\N{EN DASH}")


def test_table_3_has_equal_columns_in_csv_and_latex(scores: Runs, tmp_path: Path) -> None:
    table = main_table(scores, [ALL])
    write_table_csv(tmp_path / "t.csv", table)
    rows = list(csv.reader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert dict(zip(rows[0], rows[-2], strict=True))["Dice mean"] == column(table, "Dice")["F"]
    write_latex(tmp_path / "t.tex", table, label="tab:x")
    lines = [line for line in (tmp_path / "t.tex").read_text(encoding="utf-8").splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {len(table.header) - 1}
    assert sum(r"\mathbf" in line for line in lines) == 1


def test_each_structure_has_a_column(scores: Runs) -> None:
    table = measure_table(scores, "hd95_mm", [ALL])
    assert table.header[:3] == ("Method", "disc", "mean")
    assert float(column(table, "disc")["ours"]) == pytest.approx(3.0)
    assert "lower is better" in table.caption
    marked = [row[0] for row in table.rows if table.mark(1, row[1]) == "best"]
    assert marked == ["ours"]


def test_the_first_method_is_paired_with_each_other_case_by_case(scores: Runs) -> None:
    table = paired_table(scores, "dice", [ALL])
    assert [row[0] for row in table.rows] == ["unet", "vnet", "rival"]
    difference = column(table, "Dice")["unet"]
    assert isinstance(difference, MeanSd)
    assert (float(difference), difference.count) == (pytest.approx(0.15), 2)  # 0.1 and 0.2
    assert column(table, LOW)["unet"] == pytest.approx(0.1)
    assert column(table, "Cases better")["unet"] == "2 of 2"
    assert column(table, "P")["unet"] == 0.5  # of two pairs: 2 ** -1
    assert column(table, "P, Holm")["unet"] == 1.0
    lower = paired_table(scores, "hd95_mm", [ALL])
    assert column(lower, "Cases better")["unet"] == "2 of 2"  # fewer millimetres win
    assert float(column(lower, "HD95 (mm)")["unet"]) == pytest.approx(-1.5)


def test_the_share_of_the_gap_is_measured_from_the_better_control(scores: Runs) -> None:
    assert best_control(scores, CONTROLS) == "unet"
    table = gap_table(scores, CONTROLS, ALL)
    # from 0.55 to 0.85: ours has 0.7, the rival 0.45
    assert column(table, "Share") == pytest.approx({"ours": 0.5, "rival": -1 / 3})
    assert column(table, "Dice gained") == pytest.approx({"ours": 0.15, "rival": -0.1})
    # case by case 0.1 of 0.3 and 0.2 of 0.3
    assert (column(table, LOW)["ours"], column(table, HIGH)["ours"]) == pytest.approx((1 / 3, 2 / 3))
    assert gap_of(scores, "unet", ALL)[0] == pytest.approx(0.3)
    assert "(method less unet) / (all less unet)" in table.caption


def test_without_a_gap_there_is_no_share(scores: Runs) -> None:
    none = gap_table({**scores, ALL: scores["vnet"]}, CONTROLS, ALL)
    assert all(math.isnan(float(value)) for value in column(none, "Share").values())
    assert gap_table({"ours": scores["ours"], ALL: scores[ALL]}, CONTROLS, ALL).rows == ()
    assert gap_table({"ours": scores["ours"], "unet": scores["unet"]}, CONTROLS, ALL).rows == ()


def test_a_method_below_its_control_is_warned_of(scores: Runs) -> None:
    (sentence,) = warnings_of(scores, CONTROLS, [ALL])
    assert sentence.startswith(
        "rival is worse than its supervised control: mean Dice 0.450, unet has 0.550 (lower on 1"
    )
    assert warnings_of({"rival": scores["rival"]}, CONTROLS, [ALL]) == []
    assert warnings_of({"rival": scores["rival"], "vnet": scores["vnet"]}, CONTROLS) == []  # as good


def test_the_best_checkpoint_stands_beside_the_last(scores: Runs) -> None:
    better = {name: {0: [case("case_1", 0.9), case("case_0", 0.8)]} for name in ("ours", "unet")}
    table = best_checkpoint_table(scores, better)
    assert column(table, "Dice") == pytest.approx({"ours": 0.85, "unet": 0.85})
    assert column(table, "Dice, best less last") == pytest.approx({"ours": 0.15, "unet": 0.3})


def test_the_place_of_the_first_counts_competitors_only(scores: Runs) -> None:
    assert lead(scores, [ALL]) == (1, 4)
    assert lead({"rival": scores["rival"], **scores}, [ALL]) == (3, 4)


def test_every_number_is_written_out(scores: Runs, tmp_path: Path) -> None:
    write_all_scores(tmp_path / "all.csv", scores)
    rows = list(csv.DictReader((tmp_path / "all.csv").open(encoding="utf-8")))
    assert len(rows) == 6 * 2 * 4
    found = [row["value"] for row in rows if (row["method"], row["seed"], row["case"]) == ("ours", "1", "case_0")]
    assert found == [repr(10 * (1 - 0.7)), repr(10 * (1 - 0.7)), "0.7", "0.7"]


def test_methods_without_a_single_value_come_last_and_are_no_control() -> None:
    """What happens where no truth of the scored cases holds any structure for a method."""
    scores = runs(ours=[[math.nan, math.nan]], unet=[[math.nan, math.nan]], vnet=[[0.5, 0.6]])
    assert lead(scores) == (3, 3)
    assert best_control(scores, ("unet", "vnet")) == "vnet"
    assert best_control(runs(unet=[[math.nan, math.nan]]), ("unet",)) == "unet"
