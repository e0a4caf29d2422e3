from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from spinefuse_ext.labels import structure_colour
from spinefuse_ext.report.boxes import box_plot
from spinefuse_ext.report.comparison import ScoreRow
from spinefuse_ext.report.comparison_parts import Provenance
from spinefuse_ext.report.method_comparison import MethodRuns, Roles, protocol_tables, write_method_comparison
from spinefuse_ext.report.method_panels import methods_panel
from spinefuse_ext.report.segmentation_comparison import overlap_scores

ROLES = Roles(("supervised_unet",), "all_labels")
PROVENANCE = Provenance({"ours, seed 0": {"train": 61.0}}, {"epochs": "3"}, ["python <x>"])
Runs = dict[str, dict[int, list[ScoreRow]]]


def scored(means: dict[str, float], cases: int = 6) -> Runs:
    made = {}
    for name, mean in means.items():
        dice = [mean + 0.01 * place for place in range(cases)]
        made[name] = {
            seed: [
                overlap_scores(f"case_{place}", {"disc": {"dice": value, "asd_mm": 5 * (1 - value)}})
                for place, value in enumerate(dice)
            ]
            for seed in (0, 1)
        }
    return made


def page_of(out: Path, scores: Runs, **kwargs: object) -> str:
    runs = MethodRuns(scores, scores, **kwargs)  # type: ignore[arg-type]
    page = write_method_comparison(out, runs, PROVENANCE, ROLES, title="Few labels & many methods")
    return page.read_text(encoding="utf-8")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL))


def test_the_page_says_what_was_found_and_leaves_every_table(tmp_path: Path) -> None:
    scores = scored({"ours": 0.7, "supervised_unet": 0.6, "rival": 0.5, "all_labels": 0.8})
    html = page_of(tmp_path, scores, missing=["rival, seed 2: not begun."])
    assert {path.name for path in tmp_path.iterdir()} == {
        *("comparison.html", "table.csv", "table.tex", "table_dice.csv", "table_asd_mm.csv", "table_best.csv"),
        *("tests_dice.csv", "tests_asd_mm.csv", "gap.csv", "cases.csv", "all_scores.csv"),
    }
    text = text_of(html)
    assert "Few labels &amp; many methods" in text
    assert "rival is worse than its supervised control" in text
    assert "not finished: rival, seed 2: not begun." in text
    assert "50% " in text  # of the gap, between 0.6 and 0.8
    assert "The gap is 0.200 Dice, 95% interval 0.200 to 0.200." in text
    assert "With 6 cases the smallest P this test can give is 0.031, and 0.062 after correction for 2" in text
    assert "no corrected P can fall below 0.05" in text
    assert "scores for independent samples" in text
    assert len(re.findall('<img src="data:image/png', html)) == 2  # box plots of Dice and ASD
    assert "1 of 3" in text
    assert text.index("Warnings") < text.index("Paired tests")


def test_learning_curves_of_all_methods_are_drawn(tmp_path: Path) -> None:
    scores = scored({"ours": 0.7, "rival": 0.5})
    html = page_of(tmp_path, scores, curves={"ours": [(1, 0.3), (2, 0.7)], "rival": [(1, 0.4), (2, 0.5)]})
    assert "While they learnt" in text_of(html)
    assert 'alt="Validation Dice of each method over training"' in html
    assert "While they learnt" not in text_of(page_of(tmp_path, scores, curves={}))


@pytest.mark.parametrize(
    ("cases", "told", "untold"),
    [
        (5, "no difference can be significant at 0.05 here", "no corrected P"),
        (6, "the smallest P this test can give is 0.031,", "below 0.05 here"),  # one comparison needs no correction
    ],
)
def test_too_few_cases_for_a_significant_difference_are_told(
    cases: int, told: str, untold: str, tmp_path: Path
) -> None:
    text = text_of(page_of(tmp_path, scored({"ours": 0.7, "supervised_unet": 0.6}, cases)))
    assert told in text
    assert untold not in text
    assert "The share of the gap that is closed needs supervised_unet, and all_labels" in text
    assert "Warnings" not in text


def test_no_gap_and_no_scores(tmp_path: Path) -> None:
    scores = scored({"ours": 0.7, "supervised_unet": 0.6, "all_labels": 0.6})
    assert "so the share is not defined" in text_of(page_of(tmp_path, scores))
    with pytest.raises(ValueError, match="Expected scores of at least one run, got none"):
        page_of(tmp_path, {"ours": {}})


def test_what_is_equal_is_told_once_and_what_differs_by_method() -> None:
    settings = {"a": {"epochs": "3", "batch_size": "2"}, "b": {"epochs": "3", "batch_size": "4"}}
    same, own = protocol_tables(settings, {"a": {"network": "UNet"}, "b": {"network": "VNet"}})
    assert same.rows == (("epochs", "3"),)
    assert own.header == ("Method", "network", "batch_size")
    assert own.rows == (("a", "UNet", "2"), ("b", "VNet", "4"))


@pytest.mark.parametrize("cases", [3, 12])
def test_a_box_a_method_and_a_dot_a_case(cases: int) -> None:
    values = {
        name: {f"case_{place}": base + place for place in range(cases)} for name, base in (("a", 0.0), ("b", 10.0))
    }
    values["b"]["case_1"] = math.nan
    (ax,) = box_plot(values, "Dice").axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    dots = [np.asarray(collection.get_offsets()) for collection in ax.collections]
    assert len(dots) == cases
    assert dots[2][:, 1].tolist() == [2.0, 12.0]
    assert np.isfinite(dots[1]).all(axis=1).sum() == 1
    assert (ax.get_legend() is not None) == (cases == 3)  # colours are told apart up to eight


@pytest.fixture
def label() -> np.ndarray:
    made = np.zeros((6, 60, 80), dtype=np.float32)
    made[1:5, 20:30, 30:45] = 1
    made[1:5, 20:30, 50:60] = 2
    return made


def test_predictions_are_filled_under_the_outline_of_the_truth(label: np.ndarray, rng: np.random.Generator) -> None:
    image = rng.random(label.shape, dtype=np.float32)
    shifted = np.roll(label, 5, axis=1)
    figure = methods_panel(image, label, {"right": label, "wrong 0.50": shifted}, index=3)
    axes = [ax for ax in figure.axes if ax.images]
    assert [ax.texts[0].get_text() for ax in axes] == ["Image", "Truth", "right", "wrong 0.50"]
    assert len(axes[0].images) == 1
    fills = [np.asarray(ax.images[1].get_array()) for ax in axes[1:]]
    np.testing.assert_array_equal(fills[0], fills[1])
    assert (fills[2] != fills[1]).any()
    assert {tuple(colour[:3]) for colour in fills[0].reshape(-1, 4) if colour[3]} == {
        to_rgba(structure_colour(value))[:3] for value in (1, 2)
    }
    # cut to where anything is labelled, rows 20 to 34 and 30 to 59, with 10 mm around
    assert fills[0].shape[:2] == (50, 35)
    assert [len(ax.collections) for ax in axes] == [0, 2, 2, 2]  # two true structures outlined everywhere
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"vertebra", "disc", "outline of the truth"}


def test_a_prediction_far_from_the_truth_is_not_cut_off(label: np.ndarray) -> None:
    stray = label.copy()
    stray[3, 2, 2] = 3
    figure = methods_panel(label, label, {"stray": stray}, index=3)
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (70, 40)


def test_many_methods_go_on_in_further_rows(label: np.ndarray) -> None:
    figure = methods_panel(label, label, dict.fromkeys("abcdefghijk", label), index=3)
    axes = [ax for ax in figure.axes if ax.images]
    rows = [round(ax.get_position().y0, 3) for ax in axes]
    assert [rows.count(row) for row in sorted(set(rows), reverse=True)] == [5, 5, 3]


def test_a_case_without_labels_in_the_slice_is_shown_whole(label: np.ndarray) -> None:
    figure = methods_panel(label, label, {"nothing": np.zeros_like(label)}, index=0)
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (80, 60)
    with pytest.raises(ValueError, match="Expected images of one grid, got"):
        methods_panel(label, label, {"other": label[:, :-1]})
