from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration import (
    Landmarks,
    Limits,
    RegistrationFit,
    fit_landmarks,
    landmarks_from_labels,
    read_landmarks,
    refine,
    register_case,
    trust_headers,
)
from spinefuse_ext.registration.correction import CorrectedMap
from spinefuse_ext.registration.linear import LinearMap, to_itk
from spinefuse_ext.validation import SpinefuseError
from spinefuse_ext.volumes import write_volume

Moved = Callable[[Callable[[np.ndarray], np.ndarray]], MetaTensor]

TURN = Rotation.from_rotvec([0.0, 0.02, -0.03])
SHIFT_MM = np.array([1.5, -2.0, 0.8])
NAMES = ("L1 a", "L2 b", "L3 c", "L4 d")
POINTS = np.array([[10.0, 5, 18], [-9, 6, 7], [4, -11, -6], [-3, 8, -17]])


def one_slice(path: Path) -> MetaTensor:
    """A picture as a volume of one slice of 3 mm with its middle at the origin, pixels as mm."""
    pixels = np.asarray(Image.open(path).convert("L"), dtype=np.float32).T
    affine = np.diag([-1.0, -1, 3, 1])
    affine[:2, 3] = (np.array(pixels.shape) - 1) / 2
    return MetaTensor(torch.from_numpy(pixels.copy())[None, ..., None], affine=torch.from_numpy(affine))


def way(points: np.ndarray) -> np.ndarray:
    """The true map from CT to MR."""
    return TURN.apply(points) + SHIFT_MM


@pytest.fixture
def mr(moved: Moved) -> MetaTensor:
    return moved(lambda points: TURN.inv().apply(points - SHIFT_MM))


def landmark_fit(error_mm: np.ndarray) -> RegistrationFit:
    return fit_landmarks(Landmarks(NAMES, POINTS), Landmarks(NAMES, way(POINTS) + error_mm))


def error_mm(fit: RegistrationFit) -> float:
    return float(np.linalg.norm(fit.mapping(POINTS) - way(POINTS), axis=1).max())


def test_headers_that_are_some_millimetres_off_are_corrected(fixed: MetaTensor, mr: MetaTensor) -> None:
    fit, outcome = refine(trust_headers(), fixed, mr)
    assert outcome.kept
    assert error_mm(trust_headers()) > 2.5
    assert error_mm(fit) < 0.3  # of voxels of 2 mm
    assert outcome.mutual_information_after > outcome.mutual_information_before
    assert outcome.edge_overlap_after > outcome.edge_overlap_before
    assert outcome.turn_deg == pytest.approx(np.rad2deg(TURN.magnitude()), abs=0.4)
    assert fit.is_linear
    np.testing.assert_allclose(fit.matrix, outcome.correction_ras)


def test_clicks_that_are_off_are_corrected_and_held_out_points_say_so(fixed: MetaTensor, mr: MetaTensor) -> None:
    clicked = landmark_fit(np.random.default_rng(1).normal(0, 1.0, (4, 3)))
    fit, outcome = refine(clicked, fixed, mr)
    assert outcome.kept
    assert error_mm(fit) < 0.4 < error_mm(clicked)
    assert outcome.tre_before_mm == pytest.approx(clicked.tre_mean_mm)  # each point is left out by itself
    assert outcome.tre_after_mm < outcome.tre_before_mm
    assert fit.tre_mean_mm == pytest.approx(outcome.tre_after_mm)
    np.testing.assert_allclose(
        fit.fre_mm, np.linalg.norm(fit.mapping(POINTS) - clicked.pairs.moving, axis=1)
    )  # at the points as clicked


def test_exact_landmarks_stand_against_an_image_that_lies_elsewhere(fixed: MetaTensor, moved: Moved) -> None:
    elsewhere = moved(lambda points: TURN.inv().apply(points - SHIFT_MM) - [0, 2.0, 0])
    exact = landmark_fit(np.zeros((4, 3)))
    fit, outcome = refine(exact, fixed, elsewhere)
    assert not outcome.kept
    assert "held-out landmarks got larger" in outcome.reason
    assert outcome.moved_mm == pytest.approx(2, abs=0.3)
    assert fit is exact


def test_what_chemical_shift_could_do_is_not_corrected_without_landmarks(fixed: MetaTensor, moved: Moved) -> None:
    fit, outcome = refine(trust_headers(), fixed, moved(lambda points: points - [0, 0.6, 0]))
    assert not outcome.kept
    assert "chemical shift" in outcome.reason
    assert outcome.moved_mm == pytest.approx(0.6, abs=0.2)
    np.testing.assert_array_equal(fit.matrix, np.eye(4))


def test_a_limit_holds_and_what_runs_into_it_is_not_kept(fixed: MetaTensor, mr: MetaTensor) -> None:
    fit, outcome = refine(trust_headers(), fixed, mr, Limits(1.5, 5.0))
    assert outcome.shift_mm <= 1.5 + 1e-6
    assert not outcome.kept
    assert "ran into the limit of 1.5 mm or 5 degrees" in outcome.sentence()
    assert fit.model == "headers"
    narrow = refine(trust_headers(), fixed, mr, Limits(5.0, 0.5))[1]
    assert narrow.turn_deg <= 0.5 + 1e-2  # the three angles are bounded, and they add up to a little more or less


def test_the_same_seed_gives_the_same_result_to_the_last_bit(fixed: MetaTensor, mr: MetaTensor) -> None:
    first, second = (refine(trust_headers(), fixed, mr, seed=3)[1] for _ in range(2))
    assert first == second
    assert refine(trust_headers(), fixed, mr, seed=4)[1] != first


def test_a_map_that_bends_is_kept_after_the_correction(fixed: MetaTensor, moved: Moved) -> None:
    def bend(points: np.ndarray) -> np.ndarray:
        return points + np.stack([0 * points[:, 0], 0.002 * points[:, 2] ** 2, 0 * points[:, 0]], axis=1)

    def unbend(points: np.ndarray) -> np.ndarray:  # exact: the third coordinate does not change
        return points - np.stack([0 * points[:, 0], 0.002 * points[:, 2] ** 2, 0 * points[:, 0]], axis=1)

    bent = replace(trust_headers(), mapping=bend, transform=None)
    fit, outcome = refine(bent, fixed, moved(lambda points: unbend(points) - SHIFT_MM))
    assert outcome.kept
    assert isinstance(fit.mapping, CorrectedMap)
    assert not fit.is_linear
    np.testing.assert_allclose(fit.mapping(POINTS), bend(POINTS + SHIFT_MM), atol=0.3)


def test_a_correction_that_leaves_the_mr_is_not_kept(fixed: MetaTensor, moved: Moved) -> None:
    thin = moved(lambda points: points - [0, 4.5, 0])
    affine = thin.affine.clone()
    affine[1, 3] += 8 * affine[1, 1]
    slab = MetaTensor(thin.as_tensor()[:, :, 8:16], affine=affine)  # 16 mm; 4.5 mm further lies a quarter outside
    fit, outcome = refine(trust_headers(), fixed, slab)
    assert outcome.moved_mm == pytest.approx(4.5, abs=0.4)
    assert "of the points compared left the MR" in outcome.reason
    assert not outcome.kept
    assert fit.is_linear


@pytest.mark.parametrize("limits", [Limits(0, 5), Limits(5, 0), Limits(5, 90), Limits(float("nan"), 5)])
def test_limits_that_are_none_are_refused(limits: Limits, fixed: MetaTensor) -> None:
    with pytest.raises(SpinefuseError, match="Expected limits of a refinement above 0 mm"):
        refine(trust_headers(), fixed, fixed, limits)


def test_images_that_share_too_little_are_refused(fixed: MetaTensor, mr: MetaTensor) -> None:
    shift = np.eye(4)
    shift[0, 3] = 51.0  # of a field of 52 mm
    far = replace(trust_headers(), mapping=LinearMap(shift), matrix=shift, transform=to_itk(shift))
    with pytest.raises(SpinefuseError, match="voxels of tissue are in both images, expected at least 1000"):
        refine(far, fixed, mr)


def test_register_writes_what_a_refinement_did(fixed: MetaTensor, mr: MetaTensor, tmp_path: Path) -> None:
    for image, name in ((fixed, "ct"), (mr, "mr")):
        write_volume(image, tmp_path / f"{name}.nii.gz")
    register_case(tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz", tmp_path / "plain")
    fit = register_case(tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz", tmp_path / "out", refine=True, refine_mm=4.0)
    report = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert json.loads((tmp_path / "plain" / "registration.json").read_text())["refinement"] is None
    assert report["refinement"]["kept"] is True
    assert (report["refinement"]["limit_mm"], report["refinement"]["limit_deg"]) == (4.0, 5.0)
    np.testing.assert_allclose(report["matrix_ras_fixed_to_moving"], fit.matrix)
    assert error_mm(fit) < 0.3


@pytest.mark.assets
@pytest.mark.parametrize("landmarks", [False, True], ids=["headers", "centroids"])
def test_an_aligned_pair_stays_where_it_is(landmarks: bool, assets: Path, tmp_path: Path) -> None:
    """Corners and middle of the box of all vertebrae move by less than 0.5 mm; unbounded, it went off by 21.8 mm."""
    start = assets / "data/mr_spine/fastcleverseg_lumbar_1mm/VB1_DzZ"
    points = {}
    for role, name in (("ct", "T1"), ("mr", "T2")):
        landmarks_from_labels(f"{start}_{name}_vertebrae.nii.gz", tmp_path / f"{role}.fcsv")
        points[f"{role}_landmarks"] = tmp_path / f"{role}.fcsv"
    images = [f"{start}_{name}_image.nii.gz" for name in ("T1", "T2")]
    unrefined = register_case(*images, tmp_path / "plain", **(points if landmarks else {}))
    fit = register_case(*images, tmp_path / "out", refine=True, **(points if landmarks else {}))
    centres = read_landmarks(tmp_path / "ct.fcsv").points_mm
    low, high = centres.min(0) - 20, centres.max(0) + 20
    box = np.array(np.meshgrid(*zip(low, (low + high) / 2, high, strict=True))).reshape(3, -1).T
    assert np.linalg.norm(fit.mapping(box) - unrefined.mapping(box), axis=1).max() < 0.5
    assert json.loads((tmp_path / "out" / "registration.json").read_text())["refinement"]["moved_mm"] < 5


@pytest.mark.assets
@pytest.mark.parametrize(("name", "angle"), [("Border20", 0.0), ("Rotated10", 10.0)])
def test_a_known_turn_between_two_contrasts_is_found_in_one_slice(name: str, angle: float, assets: Path) -> None:
    folder = assets / "data/pairs/itk_t1_pd_known_transform"
    t1, pd = (one_slice(folder / f"{each}.png") for each in ("BrainT1SliceBorder20", f"BrainProtonDensitySlice{name}"))
    _, outcome = refine(trust_headers(), t1, pd, Limits(10, 20))
    correction = np.array(outcome.correction_ras)
    assert np.rad2deg(np.arctan2(correction[1, 0], correction[0, 0])) == pytest.approx(angle, abs=0.1)
    assert np.linalg.norm(correction[:2, 3]) < 0.2  # about the middle of the picture, pixels
    assert outcome.kept == (angle > 0)  # nothing to correct where nothing moved
