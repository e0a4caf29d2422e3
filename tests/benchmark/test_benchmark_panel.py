"""What a panel may say, and the sentence for what it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spinefuse_ext.benchmark import read_panel
from spinefuse_ext.benchmark.panel import PanelCase, chosen_cases
from spinefuse_ext.validation import ConfigError, MissingPathError

LABEL: dict[str, Any] = {"file": "label.nii.gz", "relabel": {"1": "vertebra", "100": "disc"}}
CASE: dict[str, Any] = {"name": "one", "group": "CT", "image": "image.nii.gz", "labels": [LABEL]}
SHIPPED = Path(__file__).parents[2] / "docs" / "how-to" / "weights_panel.json"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("image.nii.gz", "label.nii.gz"):
        (tmp_path / name).touch()
    return tmp_path


def read(data: Path, *cases: Any) -> list[PanelCase]:
    (data / "panel.json").write_text(json.dumps({"cases": list(cases)}), encoding="utf-8")
    return read_panel(data / "panel.json", data)


def test_a_case_knows_what_its_labels_name_and_paths_begin_in_the_data_folder(data: Path) -> None:
    (case,) = read(data, CASE)
    assert case.image == data / "image.nii.gz"
    assert case.labels[0].relabel == {1: "vertebra", 100: "disc"}
    assert case.knows == ("vertebra", "disc")


def test_a_label_may_know_more_than_the_image_holds(data: Path) -> None:
    (case,) = read(data, {**CASE, "labels": [{**LABEL, "knows": ["vertebra", "disc", "canal"]}]})
    assert case.knows == ("vertebra", "disc", "canal")


def test_bodies_are_known_alone(data: Path) -> None:
    (case,) = read(data, {**CASE, "labels": [{**LABEL, "relabel": "bodies"}]})
    assert case.knows == ("bodies",)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        pytest.param({"grup": "CT"}, "unknown entry 'grup'", id="misspelt"),
        pytest.param({"name": "../one"}, "plain name", id="name"),
        pytest.param({"group": None}, "needs a text under `group`", id="group"),
        pytest.param({"key": "pet"}, "the key is ct or mr", id="key"),
        pytest.param({"labels": []}, "at least one label", id="no-label"),
        pytest.param({"labels": [{**LABEL, "relabel": {"1": "rib"}}]}, "no structure 'rib'", id="structure"),
        pytest.param({"labels": [{**LABEL, "relabel": {"L1": "vertebra"}}]}, "whole numbers", id="number"),
        pytest.param({"labels": [{**LABEL, "relabel": {}}]}, "`relabel` is", id="relabel"),
        pytest.param({"image": {"slices": ".", "plane": "oblique"}}, "unknown plane 'oblique'", id="plane"),
        pytest.param({"image": {"slices": ".", "spacing_mm": [1, 1]}}, "distance of rows", id="spacing"),
        pytest.param({"image": 5}, "the image is a path", id="image"),
        pytest.param({"phantom": {"seed": 1, "image": "ct"}}, "without image and labels", id="phantom"),
    ],
)
def test_a_fault_is_told_with_its_case(data: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"Case 1 of .*panel\.json.*") as told:
        read(data, {**CASE, **changed})
    assert sentence in str(told.value)


def test_files_that_are_not_there_and_two_cases_of_a_name_are_refused(data: Path) -> None:
    with pytest.raises(MissingPathError, match=r"\(one\): the image .*absent.nii.gz does not exist"):
        read(data, {**CASE, "image": "absent.nii.gz"})
    with pytest.raises(ConfigError, match="2 cases of the name one"):
        read(data, CASE, CASE)


def test_what_is_no_panel_is_refused(data: Path) -> None:
    (data / "list.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"list.json is no panel"):
        read_panel(data / "list.json", data)


def test_groups_are_chosen_and_quick_takes_the_marked_or_the_first(data: Path) -> None:
    marked = {**CASE, "name": "two", "quick": True}
    cases = read(data, CASE, marked, {**CASE, "name": "three", "group": "MR"}, {**CASE, "name": "four", "group": "MR"})
    assert [case.name for case in chosen_cases(cases, quick=True)] == ["two", "three"]
    assert [case.name for case in chosen_cases(cases, ["MR"])] == ["three", "four"]
    with pytest.raises(ConfigError, match="no group 'PET'; it has CT, MR"):
        chosen_cases(cases, ["PET"])


@pytest.mark.assets
def test_the_shipped_panel_finds_every_file(assets: Path) -> None:
    cases = read_panel(SHIPPED, assets / "data")
    assert {name for case in cases for name in case.knows} >= {"vertebra", "disc", "canal", "cord", "s1", "bodies"}
    assert all(case.source and case.licence for case in cases)
    assert {case.phantom["seed"] for case in cases if case.phantom} == set(range(20000, 20020))
