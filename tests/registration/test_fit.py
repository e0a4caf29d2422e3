from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration import (
    Landmarks,
    Model,
    fit_landmarks,
    landmarks_from_labels,
    read_landmarks,
)
from spinefuse_ext.validation import LandmarkError

CORNERS = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 90], [25, 20, 60], [-20, 35, 30]])


def landmarks(points: np.ndarray) -> Landmarks:
    return Landmarks(tuple(f"P{index}" for index in range(len(points))), np.asarray(points, dtype=float))


def moved(
    points: np.ndarray, angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> np.ndarray:
    return Rotation.from_euler("xyz", angles_deg, degrees=True).apply(points) + np.array(shift_mm)


angles = st.tuples(*[st.floats(-80, 80)] * 3)
shifts = st.tuples(*[st.floats(-200, 200)] * 3)


@settings(max_examples=30, deadline=None)
@given(angles_deg=angles, shift_mm=shifts)
def test_an_exact_motion_is_found(angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> None:
    target = moved(CORNERS, angles_deg, shift_mm)
    fit = fit_landmarks(landmarks(CORNERS), landmarks(target))
    mapped = CORNERS @ fit.matrix[:3, :3].T + fit.matrix[:3, 3]
    np.testing.assert_allclose(mapped, target, atol=1e-6)
    assert fit.fre_rms_mm == pytest.approx(0, abs=1e-6)
    assert fit.tre_mean_mm == pytest.approx(0, abs=1e-6)


def test_errors_equal_an_independent_least_squares_fit(rng: np.random.Generator) -> None:
    target = moved(CORNERS, (10, -5, 20), (3, 4, 5)) + rng.normal(0, 2, CORNERS.shape)

    def kabsch_error(used: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Arun et al., PAMI 1987, through scipy."""
        a, b = CORNERS[used].mean(0), target[used].mean(0)
        rotation, _ = Rotation.align_vectors(target[used] - b, CORNERS[used] - a)
        return np.linalg.norm(rotation.apply(CORNERS[measured] - a) + b - target[measured], axis=1)

    everyone = np.arange(len(CORNERS))
    fit = fit_landmarks(landmarks(CORNERS), landmarks(target))
    np.testing.assert_allclose(fit.fre_mm, kabsch_error(everyone, everyone), atol=1e-6)
    left_out = [kabsch_error(everyone[everyone != i], np.array([i]))[0] for i in everyone]
    np.testing.assert_allclose(fit.tre_mm, left_out, atol=1e-6)
    assert fit.worst == f"P{np.argmax(left_out)}"


def test_points_are_matched_by_name_not_by_order() -> None:
    target = moved(CORNERS, (10, 20, 30), (1, 2, 3))
    fixed, moving = landmarks(CORNERS), landmarks(target)
    shuffled = Landmarks(moving.names[::-1], moving.points_mm[::-1])
    assert fit_landmarks(fixed, shuffled).fre_rms_mm == pytest.approx(0, abs=1e-6)


def test_itk_transform_is_the_same_map_in_lps() -> None:
    fit = fit_landmarks(landmarks(CORNERS), landmarks(moved(CORNERS, (10, 20, 30), (1, 2, 3))))
    point = np.array([7.0, -8.0, 9.0])
    expected = (fit.matrix[:3, :3] @ point + fit.matrix[:3, 3]) * [-1, -1, 1]
    np.testing.assert_allclose(fit.transform.TransformPoint((point * [-1, -1, 1]).tolist()), expected, atol=1e-9)


def test_a_reflection_is_never_fitted() -> None:
    mirrored = CORNERS * [-1, 1, 1]
    fit = fit_landmarks(landmarks(CORNERS), landmarks(mirrored))
    assert np.linalg.det(fit.matrix[:3, :3]) == pytest.approx(1)
    assert fit.fre_rms_mm > 5


def test_an_affine_map_that_mirrors_is_refused() -> None:
    with pytest.raises(LandmarkError, match="fit an affine map that mirrors the patient"):
        fit_landmarks(landmarks(CORNERS), landmarks(CORNERS * [-1, 1, 1]), "affine")


def test_a_spline_through_two_points_at_one_place_is_refused() -> None:
    points = np.vstack([CORNERS, CORNERS[:1]])
    with pytest.raises(LandmarkError, match=r"lie on each other, so a spline through all of them is not defined"):
        fit_landmarks(landmarks(points), landmarks(points + 1), "thin_plate")


def test_three_points_have_no_leave_one_out_error_and_say_so() -> None:
    fit = fit_landmarks(landmarks(CORNERS[:3]), landmarks(CORNERS[:3] + np.diag([0.0, 0, 3])))
    assert np.isnan(fit.tre_mm).all()
    assert np.isnan(fit.tre_mean_mm)
    assert fit.worst == f"P{np.argmax(fit.fre_mm)}"
    assert "Leave-one-out TRE is not measurable" in fit.summary()
    assert json.loads(json.dumps(fit.to_dict(), allow_nan=False))["tre_mean_mm"] is None


def test_leave_one_out_is_nan_where_the_others_are_on_one_line() -> None:
    points = np.array([[0.0, 0, 0], [0, 0, 30], [0, 0, 60], [20, 0, 30]])
    fit = fit_landmarks(landmarks(points), landmarks(points))
    np.testing.assert_array_equal(np.isnan(fit.tre_mm), [False, False, False, True])


def test_summary_marks_the_worst_point() -> None:
    target = CORNERS.copy()
    target[4] += [0, 9, 0]
    fit = fit_landmarks(landmarks(CORNERS), landmarks(target))
    marked = [line for line in fit.summary().splitlines() if "<- worst" in line]
    assert len(marked) == 1
    assert marked[0].split()[0] == fit.worst == f"P{np.argmax(fit.tre_mm)}"
    assert f"FRE {fit.fre_rms_mm:.2f} mm" in fit.summary()


def test_unfit_landmarks_are_refused() -> None:
    fixed = landmarks(CORNERS)
    renamed = Landmarks(("Q0", "Q1", "Q2", "Q3", *fixed.names[4:]), fixed.points_mm)
    with pytest.raises(
        LandmarkError, match=r"got 2 \(P4, P5\); only in the fixed \(CT\) list: P0, P1, P2, P3; only in"
    ):
        fit_landmarks(fixed, renamed)
    with pytest.raises(LandmarkError, match=r"at least 3 landmark pairs for the model rigid, got 2 \(P0, P1\)"):
        fit_landmarks(landmarks(CORNERS[:2]), landmarks(CORNERS[:2]))
    line = landmarks(np.outer(np.arange(5.0), [1, 2, 3]))
    with pytest.raises(LandmarkError, match="P0, P1, P2, P3, P4 lie on one line"):
        fit_landmarks(line, line)
    with pytest.raises(LandmarkError, match="out of rigid, similarity, affine, thin_plate, per_vertebra, got elastic"):
        fit_landmarks(fixed, fixed, model="elastic")


@pytest.mark.assets
def test_two_postures_of_one_spine_give_the_known_errors(assets: Path, tmp_path: Path) -> None:
    folder = assets / "data/mr_spine/fastcleverseg_lumbar_1mm"
    fixed = landmarks_from_labels(folder / "VB1_AKs6_T1_vertebrae.nii.gz", tmp_path / "a.mrk.json")
    moving = landmarks_from_labels(folder / "VB1_AKs8_T1b_vertebrae.nii.gz", tmp_path / "b.fcsv")
    fit = fit_landmarks(read_landmarks(tmp_path / "a.mrk.json"), read_landmarks(tmp_path / "b.fcsv"))
    assert fixed.names == moving.names == tuple(f"V{rank:02d}" for rank in range(1, 10))
    assert fit.fre_rms_mm == pytest.approx(1.70, abs=0.01)  # the published figures have two decimals
    assert fit.tre_mean_mm == pytest.approx(2.15, abs=0.01)
    assert fit.tre_mm.max() == pytest.approx(4.06, abs=0.01)
    before = np.linalg.norm(fixed.points_mm - moving.points_mm, axis=1).mean()
    assert before == pytest.approx(5.84, abs=0.01)
    errors = {model.value: fit_landmarks(fixed, moving, model.value).tre_mean_mm for model in Model}
    assert min(errors["thin_plate"], errors["per_vertebra"]) <= 1.0
    assert max(errors["thin_plate"], errors["per_vertebra"]) < min(errors["rigid"], errors["similarity"])


@pytest.mark.assets
def test_head_templates_of_one_kind_are_closer_than_of_two(assets: Path) -> None:
    folder = assets / "data/landmarks_transforms/afids_fcsv"
    names = ("tpl-MNI152NLin2009cAsym", "tpl-MNI152NLin2009bAsym", "tpl-OASIS30ANTs")
    base, sibling, other = (read_landmarks(folder / f"{name}_afids.fcsv") for name in names)
    near, far = fit_landmarks(base, sibling), fit_landmarks(base, other)
    assert near.fre_rms_mm < 1 < far.fre_rms_mm < 10
    assert (far.tre_mm >= far.fre_mm).all()  # a left-out point is never closer than a fitted one
