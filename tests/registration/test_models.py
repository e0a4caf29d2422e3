from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spinefuse_ext.data import make_phantom
from spinefuse_ext.data.phantom import Phantom
from spinefuse_ext.registration import Landmarks, Model, fit_landmarks, vertebrae_from_labels
from spinefuse_ext.validation import ConfigError, LandmarkError

BOX = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 90], [25, 20, 60], [-20, 35, 30]])
NAMES = ("L1 a", "L1 b", "L2 a", "L4 a", "L3 a", "L3 b")
FREEDOM = ["rigid", "similarity", "affine", "thin_plate"]

models = pytest.mark.parametrize("model", list(Model))


def landmarks(points: np.ndarray, names: tuple[str, ...] = NAMES) -> Landmarks:
    return Landmarks(names[: len(points)], np.asarray(points, dtype=float))


@cache
def phantom(seed: int, per_vertebra: int | None = None) -> Phantom:
    """Landmarks depend on the field, not on the voxels: a coarse CT is made fast."""
    return make_phantom(seed, spacing_mm=8.0, landmarks_per_vertebra=per_vertebra)


def target_errors_mm(case: Phantom, model: str) -> np.ndarray:
    fit = fit_landmarks(case.ct_landmarks, case.mr_landmarks, model)
    return np.linalg.norm(fit.mapping(case.targets.ct.points_mm) - case.targets.mr.points_mm, axis=1)


@models
@settings(max_examples=4, deadline=None)
@given(angles=st.tuples(*[st.floats(-60, 60)] * 3), shift=st.tuples(*[st.floats(-100, 100)] * 3))
def test_every_model_finds_an_exact_rigid_motion(
    model: Model, angles: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    rotation = Rotation.from_euler("xyz", angles, degrees=True)
    fit = fit_landmarks(landmarks(BOX), landmarks(rotation.apply(BOX) + shift), model.value)
    elsewhere = BOX[::-1] * 0.7 + 5
    np.testing.assert_allclose(fit.mapping(elsewhere), rotation.apply(elsewhere) + shift, atol=1e-3)
    assert fit.fre_rms_mm == pytest.approx(0, abs=1e-3)
    assert fit.suspects == ()


@pytest.mark.parametrize(("model", "linear"), [("similarity", 1.2 * np.eye(3)), ("affine", np.diag([1.1, 0.8, 1.3]))])
def test_scales_are_found_where_the_model_has_them(model: str, linear: np.ndarray) -> None:
    turned = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ linear
    fit = fit_landmarks(landmarks(BOX), landmarks(BOX @ turned.T + 7), model)
    np.testing.assert_allclose(fit.matrix[:3, :3], turned, atol=1e-9)
    assert fit_landmarks(landmarks(BOX), landmarks(BOX @ turned.T + 7), "rigid").fre_rms_mm > 3


def test_more_freedom_leaves_less_at_the_fitted_points(rng: np.random.Generator) -> None:
    target = landmarks(BOX + rng.normal(0, 2, BOX.shape))
    left = [fit_landmarks(landmarks(BOX), target, model).fre_rms_mm for model in FREEDOM]
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(0, abs=1e-6)


@models
def test_leave_one_out_is_the_error_of_a_fit_without_the_point(model: Model, rng: np.random.Generator) -> None:
    target = BOX + rng.normal(0, 1, BOX.shape)
    fit = fit_landmarks(landmarks(BOX), landmarks(target), model.value)
    if model is Model.PER_VERTEBRA:
        assert (fit.tre_mm > fit.fre_mm).all()  # which bones there are is still known without the point
        return
    for row in range(len(BOX)):
        kept = np.arange(len(BOX)) != row
        names = tuple(np.array(NAMES)[kept])
        without = fit_landmarks(landmarks(BOX[kept], names), landmarks(target[kept], names), model.value)
        expected = np.linalg.norm(without.mapping(BOX[[row]]) - target[[row]])
        assert fit.tre_mm[row] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("model", ["affine", "thin_plate"])
def test_stretching_models_refuse_few_and_flat_points(model: str) -> None:
    flat = landmarks(BOX * [1, 1, 0])
    with pytest.raises(LandmarkError, match=r"lie in one plane.*add a point beside that plane"):
        fit_landmarks(flat, flat, model)
    with pytest.raises(LandmarkError, match=f"at least 4 landmark pairs for the model {model}, got 3"):
        fit_landmarks(landmarks(BOX[:3]), landmarks(BOX[:3]), model)


def test_what_cannot_be_left_out_is_said_with_its_reason() -> None:
    points = BOX[[0, 1, 2, 3]]
    fit = fit_landmarks(landmarks(points), landmarks(points + 1), "affine")
    assert np.isnan(fit.tre_mm).all()
    entry = json.loads(json.dumps(fit.to_dict(), allow_nan=False))["points"]["L1 a"]
    assert entry["tre_mm"] is None
    assert entry["tre_missing"] == "the other points are fewer than 4"
    assert "not measurable where the other points are fewer than 4" in fit.summary()


def test_a_model_without_matrix_offers_no_itk_transform_by_itself() -> None:
    fit = fit_landmarks(landmarks(BOX), landmarks(BOX + 1), "thin_plate")
    assert not fit.is_linear
    assert fit.transform is None
    assert fit.to_dict()["is_linear"] is False


def test_per_vertebra_follows_a_posture_change_better_than_rigid() -> None:
    """20 phantoms, 8 landmarks with 1 mm click error each, measured at points that are no landmarks."""
    errors = {
        model: [target_errors_mm(phantom(seed), model) for seed in range(20)] for model in ("rigid", "per_vertebra")
    }
    pooled = {model: np.concatenate(each) for model, each in errors.items()}
    assert np.median(pooled["per_vertebra"]) < 0.9 < np.median(pooled["rigid"])
    assert np.percentile(pooled["per_vertebra"], 95) < 0.75 * np.percentile(pooled["rigid"], 95)


def test_more_landmarks_per_vertebra_help_per_vertebra_more_than_rigid() -> None:
    errors = {
        (model, count): np.median(np.concatenate([target_errors_mm(phantom(seed, count), model) for seed in range(5)]))
        for model in ("rigid", "per_vertebra")
        for count in (None, 4)
    }
    assert errors["per_vertebra", 4] < errors["per_vertebra", None]
    assert errors["per_vertebra", 4] < 0.85 * errors["rigid", 4]


def test_inside_a_labelled_vertebra_the_map_is_one_rigid_motion() -> None:
    case = make_phantom(3, spacing_mm=3.0)
    bones = vertebrae_from_labels(case.ct_landmarks, case.vertebrae, Path("vertebrae.nii.gz"))
    fit = fit_landmarks(case.ct_landmarks, case.mr_landmarks, "per_vertebra", vertebrae=bones)
    affine = case.vertebrae.affine.numpy()
    matrices = fit.to_dict()["vertebra_matrices_ras_fixed_to_moving"]
    for name, number in (("L3", 22), ("L4", 23)):
        voxels = np.argwhere(case.vertebrae[0].numpy() == number)[::40]
        points = voxels @ affine[:3, :3].T + affine[:3, 3]
        own = np.array(matrices[name])
        np.testing.assert_allclose(fit.mapping(points), points @ own[:3, :3].T + own[:3, 3], atol=1e-3)
        np.testing.assert_allclose(own[:3, :3] @ own[:3, :3].T, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("count", [1, 7])
def test_the_phantom_places_as_many_landmarks_per_vertebra_as_asked(count: int) -> None:
    names = phantom(2, count).ct_landmarks.names
    levels = [name.split("_")[0] for name in names]
    assert max(map(levels.count, levels)) == count
    assert not set(names) & set(phantom(2, count).targets.ct.names)
    with pytest.raises(ConfigError, match="1 to 7 landmarks per vertebra, got 8"):
        make_phantom(2, landmarks_per_vertebra=8)
