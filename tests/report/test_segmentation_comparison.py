from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from spinefuse_ext.report.comparison import MeanSd, ScoreRow, read_scores, undefined, wins_table, write_scores
from spinefuse_ext.report.comparison_parts import Provenance
from spinefuse_ext.report.image_panels import segmentations_panel
from spinefuse_ext.report.palette import ERROR_COLOURS
from spinefuse_ext.report.seed_scores import measures
from spinefuse_ext.report.segmentation_comparison import (
    case_table,
    difference_table,
    not_in_truth,
    of_measure,
    overlap_scores,
    segmentation_picture,
    write_segmentation_comparison,
)

NAN = math.nan


def overlap(vertebra: float, disc: float) -> dict[str, dict[str, float]]:
    return {"vertebra": {"dice": vertebra, "jaccard": 0.5}, "disc": {"dice": disc, "jaccard": 0.25}}


@pytest.fixture
def scores() -> dict[str, list[ScoreRow]]:
    """Dice of vertebra and disc; the CT has no disc in case b."""
    return {
        "fused": [overlap_scores("a", overlap(0.9, 0.8)), overlap_scores("b", overlap(0.7, 0.2))],
        "ct": [overlap_scores("b", overlap(0.5, NAN)), overlap_scores("a", overlap(0.8, 0.4))],
    }


def test_scores_of_a_case_are_named_by_measure_and_structure() -> None:
    scored = overlap_scores("a", overlap(0.9, 0.5))
    assert (scored.case, scored.index) == ("a", None)
    assert scored.values == {
        **{"dice vertebra": 0.9, "dice disc": 0.5, "dice mean": pytest.approx(0.7)},
        **{"jaccard vertebra": 0.5, "jaccard disc": 0.25, "jaccard mean": 0.375},
    }
    assert overlap_scores("a", overlap(0.9, NAN)).values["dice mean"] == 0.9
    assert math.isnan(overlap_scores("a", overlap(NAN, NAN)).values["dice mean"])


def test_what_the_truth_lacks_is_told_with_what_was_predicted_of_it() -> None:
    scores = {
        "fused": [overlap_scores("a", overlap(0.9, 0.8), {}), overlap_scores("b", overlap(0.7, NAN), {"disc": 0.0})],
        "ct": [overlap_scores("a", overlap(0.8, 0.4), {}), overlap_scores("b", overlap(0.5, NAN), {"disc": 1.25})],
    }
    told = "disc is not in the truth of 1 of 2 cases (b) and not scored there"
    assert not_in_truth(scores) == [f"{told}; predicted there all the same, at most: ct 1.25 ml."]
    assert not_in_truth({"fused": scores["fused"]}) == [f"{told}."]
    assert measures({"fused": {0: scores["fused"]}}) == ["dice", "jaccard"]


def test_whole_cases_survive_the_file_and_are_called_cases(scores: dict[str, list[ScoreRow]], tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", scores["fused"])
    assert read_scores(tmp_path / "scores.csv") == scores["fused"]
    dice = of_measure(scores, "dice")
    assert undefined(dice) == ["disc of ct is not defined on 1 of 2 cases, left out above."]
    assert wins_table(dice).caption.startswith("Percent of cases")
    assert wins_table(dice).rows == (("ct", 100.0, 100.0, 50.0),)  # means 0.85 0.45 against 0.6 0.5


def test_differences_are_taken_case_by_case(scores: dict[str, list[ScoreRow]]) -> None:
    table = difference_table(of_measure(scores, "dice"))
    assert table.header == ("fused less", "vertebra", "disc", "mean")
    ((name, vertebra, disc, _),) = table.rows
    assert name == "ct"
    assert isinstance(vertebra, MeanSd)
    assert float(vertebra) == pytest.approx(0.15)  # of 0.9 - 0.8 and 0.7 - 0.5
    assert vertebra.sd == pytest.approx(math.sqrt(0.005))
    assert isinstance(disc, MeanSd)
    assert (float(disc), disc.count) == (pytest.approx(0.4), 1)


def test_every_case_has_a_row_with_its_mean_by_method(scores: dict[str, list[ScoreRow]]) -> None:
    table = case_table(of_measure(scores, "dice"))
    assert table.header == ("Case", "fused", "ct")
    assert table.rows == (("a", pytest.approx(0.85), pytest.approx(0.6)), ("b", pytest.approx(0.45), 0.5))


def test_a_picture_has_a_row_for_each_method_with_its_own_image_and_errors(rng: np.random.Generator) -> None:
    label = np.zeros((6, 20, 24), dtype=np.float32)
    label[1:5, 5:15, 5:15] = 1
    missed = label.copy()
    missed[:, :10] = 0
    images = [rng.random(label.shape, dtype=np.float32) for _ in range(2)]
    results = {"fused": (images[0], label), "ct": (images[1] * 1000, missed)}
    figure = segmentations_panel(results, label, limits={"ct": (-150.0, 850.0)})
    rows = [figure.axes[:4], figure.axes[4:]]
    assert [ax.get_title() for ax in rows[0]] == ["Image", "Truth", "Prediction", "Errors"]
    for row, (name, (image, _)), limits in zip(rows, results.items(), (None, (-150.0, 850.0)), strict=True):
        assert name in [text.get_text() for text in row[0].texts]
        drawn = row[0].images[0]
        np.testing.assert_array_equal(drawn.get_array(), image[3][::-1, ::-1].T)  # one of slices 1 to 4, the middle one
        assert limits is None or drawn.get_clim() == limits
    wrong = [np.asarray(row[3].images[1].get_array())[..., 3] > 0 for row in rows]
    assert [int(mask.sum()) for mask in wrong] == [0, 50]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"vertebra"}
    assert len(ERROR_COLOURS) + 1 == len(figure.legends[0].get_texts())
    picture = segmentation_picture("case_1", results, label, 0, {})
    assert "case_1: a row for each of fused, ct" in picture.caption


def test_comparison_leaves_a_page_and_its_tables(scores: dict[str, list[ScoreRow]], tmp_path: Path) -> None:
    provenance = Provenance({"fused": {"train": 61.0}, "ct": {"train": 1.0}}, {"epochs": "3"}, ["python <x>"])
    page = write_segmentation_comparison(tmp_path, scores, [], provenance, title="Inputs & more", notes=["One seed."])
    assert {path.name for path in tmp_path.iterdir()} == {
        *("comparison.html", "table.csv", "table.tex", "table_jaccard.csv", "differences.csv", "cases.csv")
    }
    html = page.read_text(encoding="utf-8")
    assert "<h1>Inputs &amp; more</h1>" in html
    assert "0.800 ± 0.141" in html
    assert html.count("disc of ct is not defined on 1 of 2 cases") == 1
    assert "One seed." in html
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["Method"] for row in rows] == ["fused", "ct"]
    assert float(rows[0]["vertebra mean"]) == pytest.approx(0.8)
    assert "vertebra & disc & mean" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert "over 2 cases" in html
