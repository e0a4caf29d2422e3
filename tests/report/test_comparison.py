from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.report.comparison import (
    MeanSd,
    ScoreRow,
    read_scores,
    score_table,
    undefined,
    wins_table,
    write_scores,
)
from spinefuse_ext.report.comparison_page import comparison_pictures, write_comparison
from spinefuse_ext.report.comparison_parts import Provenance
from spinefuse_ext.report.table_files import latex_text, write_latex, write_table_csv
from spinefuse_ext.report.tables import Table
from spinefuse_ext.validation import MissingPathError, SpinefuseError

NAN = math.nan
EN, MI = "entropy", "mutual_information"


def slices(*values: tuple[str, int, float, float]) -> list[ScoreRow]:
    return [ScoreRow(case, index, {MI: mi, EN: en}) for case, index, en, mi in values]


@pytest.fixture
def scores() -> dict[str, list[ScoreRow]]:
    """Case a has three slices, case b one; EN of the methods are 1 2 3 | 6 and 2 2 2 | 2."""
    return {
        "ours": slices(("a", 0, 1.0, 0.5), ("a", 1, 2.0, 0.5), ("a", 4, 3.0, 0.5), ("b", 2, 6.0, NAN)),
        "max": slices(("a", 0, 2.0, 0.5), ("a", 1, 2.0, 0.4), ("a", 4, 2.0, 0.6), ("b", 2, 2.0, 0.7)),
    }


def test_over_slices_every_slice_counts_once(scores: dict[str, list[ScoreRow]]) -> None:
    table = score_table(scores)
    assert table.header == ("Method", "EN", "MI")  # in the order of the literature, whatever the order of the scores
    ours, other = table.rows
    assert [ours[0], other[0]] == ["ours", "max"]
    assert isinstance(ours[1], MeanSd)
    assert float(ours[1]) == 3.0  # (1 + 2 + 3 + 6) / 4
    assert ours[1].sd == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert "4 slices of 2 cases" in table.caption


def test_over_cases_every_case_counts_once(scores: dict[str, list[ScoreRow]]) -> None:
    table = score_table(scores, over="cases")
    entropy = table.rows[0][1]
    assert isinstance(entropy, MeanSd)
    assert float(entropy) == 4.0  # (mean of 1 2 3 = 2, and 6) / 2
    assert entropy.sd == pytest.approx(math.sqrt(8))  # (2 - 4)^2 + (6 - 4)^2, over 1
    assert "2 cases (mean of its slices each)" in table.caption
    with pytest.raises(ValueError, match="Expected over='slices' or 'cases', got 'voxels'"):
        score_table(scores, over="voxels")


def test_a_score_that_is_not_defined_is_left_out_and_told(scores: dict[str, list[ScoreRow]]) -> None:
    mutual = score_table(scores).rows[0][2]
    assert isinstance(mutual, MeanSd)
    assert (float(mutual), mutual.sd, mutual.count) == (0.5, 0.0, 3)
    assert undefined(scores) == ["mutual_information of ours is not defined on 1 of 4 slices, left out above."]


def test_cells_show_mean_and_sd_and_dashes_for_what_does_not_exist() -> None:
    table = Table(("x",), (), digits=2)
    assert table.text(MeanSd.of([1.0, 2.0])) == "1.50 ± 0.71"
    assert table.text(MeanSd.of([1.0])) == "1.00 ± \N{EN DASH}"
    assert table.text(MeanSd.of([NAN])) == "\N{EN DASH}"


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_mean_and_sd_are_those_of_numpy(values: list[float]) -> None:
    made = MeanSd.of([*values, NAN, math.inf])
    assert float(made) == pytest.approx(np.mean(values), abs=1e-9)
    assert made.sd == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert made.count == len(values)


def test_the_best_of_each_column_is_marked_ties_too_and_nothing_else(scores: dict[str, list[ScoreRow]]) -> None:
    table = score_table({**scores, "tied": scores["max"]})
    marks = [[table.mark(column, row[column]) for column in range(3)] for row in table.rows]
    assert marks == [["", "best", ""], ["", "", "best"], ["", "", "best"]]  # EN 3 against 2; MI 0.5 against 0.55
    alone = score_table({"ours": scores["ours"]})
    assert alone.mark(1, alone.rows[0][1]) == ""


def test_wins_pair_the_slices_and_halve_ties(scores: dict[str, list[ScoreRow]]) -> None:
    table = wins_table(scores)
    assert table.header == ("ours against", "EN", "MI")
    # EN: 1 < 2, 2 = 2, 3 > 2, 6 > 2; MI: tie, higher, lower, and a pair without a number
    assert table.rows == (("max", 62.5, 50.0),)
    shuffled = wins_table({"ours": scores["ours"][::-1], "max": scores["max"]})
    assert shuffled.rows == table.rows
    assert wins_table({"ours": scores["ours"]}).rows == ()


def test_scores_survive_the_file_with_every_digit(tmp_path: Path) -> None:
    written = slices(('a, "b"', 3, 1 / 3, NAN), ("c", 0, 1e-17, -2.5))
    write_scores(tmp_path / "scores.csv", written)
    read = read_scores(tmp_path / "scores.csv")
    assert [(one.case, one.index) for one in read] == [('a, "b"', 3), ("c", 0)]
    assert read[0].values[EN] == 1 / 3
    assert math.isnan(read[0].values[MI])
    assert read[1].values == {EN: 1e-17, MI: -2.5}


def test_a_file_that_holds_no_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"The file of scores .*gone.csv does not exist"):
        read_scores(tmp_path / "gone.csv")
    (tmp_path / "other.csv").write_text("case,slice,entropy\na,first,1\n", encoding="utf-8")
    with pytest.raises(SpinefuseError, match=r"other.csv should hold a row of scores per case and slice"):
        read_scores(tmp_path / "other.csv")


HOSTILE = 'a_b & "c", 50% #1 {x} $y$ ^~\\'


def test_csv_keeps_every_digit_and_hostile_names(tmp_path: Path) -> None:
    table = Table(("Method", HOSTILE), ((HOSTILE, MeanSd.of([1.0, 2.0])), ("b", MeanSd.of([1 / 3]))))
    write_table_csv(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        header, first, second = csv.reader(file)
    assert header == ["Method", f"{HOSTILE} mean", f"{HOSTILE} SD", f"{HOSTILE} n"]
    assert first == [HOSTILE, "1.5", repr(math.sqrt(0.5)), "2"]
    assert second == ["b", repr(1 / 3), "nan", "1"]


def test_latex_escapes_every_sign_that_is_a_command() -> None:
    assert latex_text("a_b & 5% #{$}") == r"a\_b \& 5\% \#\{\$\}"
    assert latex_text("\\^~<") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}\textless{}"
    assert latex_text("1 ± 2 \N{EN DASH}") == r"1 $\pm$ 2 --"


def test_latex_table_has_equal_columns_and_the_best_in_bold(scores: dict[str, list[ScoreRow]], tmp_path: Path) -> None:
    table = score_table({"our_s": scores["ours"], "max": scores["max"]})
    write_latex(tmp_path / "t.tex", table, label="tab:x")
    text = (tmp_path / "t.tex").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [row.count("&") for row in rows] == [2, 2, 2]
    assert rows[1] == r"our\_s & $\mathbf{3.000} \pm 2.160$ & $0.500 \pm 0.000$ \\"
    assert rows[2] == r"max & $2.000 \pm 0.000$ & $\mathbf{0.550} \pm 0.129$ \\"
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert "is bold}" in text
    assert "±" not in text


def test_pictures_show_every_method_and_go_on_in_further_rows(rng: np.random.Generator) -> None:
    ct = np.zeros((6, 20, 24), dtype=np.float32)
    ct[1:5, 5:15, 5:15] = 0.9
    images = {name: ct + 0.01 * rng.random(ct.shape, dtype=np.float32) for name in ("CT", "MR", *"abcd")}
    pictures = comparison_pictures("case_1", images, axis=0)
    assert len(pictures) == 2
    for picture in pictures:
        axes = [ax for ax in picture.figure.axes if ax.images]
        assert [ax.texts[0].get_text() for ax in axes] == ["CT", "MR", *"abcd"]
        assert {ax.images[0].get_clim() for ax in axes} == {(0.0, 1.0)}  # one grey range, or brightness is no result
        rows = [round(ax.get_position().y0, 3) for ax in axes]
        assert [rows.count(row) for row in sorted(set(rows))] == [3, 3]  # not five and one
        assert "case_1, sagittal" in picture.caption


def test_comparison_leaves_a_page_and_its_tables(scores: dict[str, list[ScoreRow]], tmp_path: Path) -> None:
    provenance = Provenance(
        {"ours": {"train": 61.0, "fuse": 2.0}, "max": {"fuse": 1.0}}, {"epochs": "3"}, ["python <x>"]
    )
    page = write_comparison(tmp_path, scores, [], provenance)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("comparison.html", "ranks.csv", "table.csv", "table.tex", "table_cases.csv", "wins.csv")
    }
    html = page.read_text(encoding="utf-8")
    assert "3.000 ± 2.160" in html
    assert html.count('class="best"') == 4  # over slices EN 3 and MI 0.55; over cases EN 4 and MI 0.6
    assert "1 min 1 s" in html
    assert "python &lt;x&gt;" in html
    assert "1 of 2" in html
    assert "1 of 4 slices" in html
