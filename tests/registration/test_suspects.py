from __future__ import annotations

import json

import numpy as np
import pytest

from spinefuse_ext.data import make_phantom
from spinefuse_ext.registration import Landmarks, Model, fit_landmarks

models = pytest.mark.parametrize("model", list(Model))
SEEDS = range(2)


def clicked(seed: int) -> tuple[Landmarks, Landmarks]:
    case = make_phantom(seed, spacing_mm=8.0, landmarks_per_vertebra=3)
    return case.ct_landmarks, case.mr_landmarks


def changed(points: Landmarks, change: np.ndarray) -> Landmarks:
    return Landmarks(points.names, points.points_mm + change)


@pytest.mark.parametrize(("seed", "each"), [(5, None), (21, None), (21, 3)])
def test_the_only_points_of_an_end_vertebra_are_not_doubted_for_its_bend(seed: int, each: int | None) -> None:
    case = make_phantom(seed, size_mm=(112.0,) * 3, spacing_mm=8.0, landmarks_per_vertebra=each)
    assert fit_landmarks(case.ct_landmarks, case.mr_landmarks, "rigid").suspects == ()


@models
def test_a_swapped_pair_is_named_and_nothing_else(model: Model) -> None:
    for seed in SEEDS:
        ct, mr = clicked(seed)
        order = np.arange(len(mr.names))
        order[[1, 7]] = [7, 1]
        fit = fit_landmarks(ct, Landmarks(mr.names, mr.points_mm[order]), model.value)
        assert [(each.kind, set(each.names)) for each in fit.suspects] == [("swapped", {ct.names[1], ct.names[7]})]
        assert "look swapped" in fit.warnings[0]
        assert f"Warning: {fit.warnings[0]}" in fit.summary()
        assert json.loads(json.dumps(fit.to_dict(), allow_nan=False))["warnings"] == list(fit.warnings)


@models
def test_a_misplaced_point_is_named_and_nothing_else(model: Model) -> None:
    for seed in SEEDS:
        ct, mr = clicked(seed)
        shift = np.zeros_like(mr.points_mm)
        shift[4] = [9, -8, 9]
        fit = fit_landmarks(ct, changed(mr, shift), model.value)
        assert [(each.kind, each.names) for each in fit.suspects] == [("misplaced", (ct.names[4],))]
        assert f"Landmark {ct.names[4]} looks misplaced" in fit.summary()


@models
def test_honest_clicks_raise_no_doubt(model: Model) -> None:
    for seed in SEEDS:
        assert fit_landmarks(*clicked(seed), model.value).suspects == ()


def test_too_few_points_for_a_judgement_raise_no_doubt(rng: np.random.Generator) -> None:
    points = rng.uniform(-40, 40, (5, 3))
    names = tuple("abcde")
    assert fit_landmarks(Landmarks(names, points), Landmarks(names, points[[1, 0, 2, 3, 4]])).suspects == ()
