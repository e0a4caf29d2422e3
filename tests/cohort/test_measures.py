from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from spinefuse_ext.cohort import carried_back, pair_edges
from spinefuse_ext.registration import Landmarks, fit_landmarks


@pytest.mark.parametrize("model", ["rigid", "affine", "thin_plate"])
def test_landmarks_are_carried_back_to_where_the_map_takes_them_from(model: str, rng: np.random.Generator) -> None:
    names = tuple("abcdefgh")
    fixed = Landmarks(names, rng.uniform(-60, 60, (8, 3)))
    moving = Landmarks(
        names, fixed.points_mm @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]) + rng.normal(0, 2, (8, 3))
    )
    fit = fit_landmarks(fixed, moving, model)
    found = carried_back(fit.mapping, fit.matrix, moving.points_mm)
    np.testing.assert_allclose(fit.mapping(found), moving.points_mm, atol=0.02)
    if model == "thin_plate":  # passes through every point
        np.testing.assert_allclose(found, fixed.points_mm, atol=0.05)


def image(voxels: np.ndarray, spacing_mm: float) -> MetaTensor:
    affine = torch.diag(torch.tensor([spacing_mm] * 3 + [1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(voxels.astype(np.float32))[None], affine=affine)


@pytest.fixture
def blobs(rng: np.random.Generator) -> np.ndarray:
    """Bright blobs in grey tissue with air on two sides, 60 voxels a side."""
    voxels = 500 + 1000 * (gaussian_filter(rng.normal(size=(60, 60, 60)), 4) > 0)
    voxels[[*range(4), *range(-4, 0)]] = 0
    return voxels


@pytest.mark.parametrize(("spacing_mm", "near"), [(1.0, True), (0.5, True), (1.0, False), (3.0, False)])
def test_an_image_has_the_edges_of_itself_and_by_chance_those_of_its_turned_self(
    spacing_mm: float, near: bool, blobs: np.ndarray
) -> None:
    points = Landmarks(("a", "b"), np.array([[20.0, 30, 30], [40, 30, 30]]) * spacing_mm) if near else None
    one, turned = image(blobs, spacing_mm), image(blobs[::-1, :, ::-1].copy(), spacing_mm)
    inverted = image(np.where(blobs > 0, 2000 - blobs, 0), spacing_mm)
    same, opposite, chance = (pair_edges(one, other, points) for other in (one, inverted, turned))
    assert same == pytest.approx(1.0, abs=1e-6)
    assert opposite is not None
    assert opposite > 0.6
    assert chance is not None
    assert chance < 0.35


def test_nothing_is_said_where_there_is_no_tissue(blobs: np.ndarray) -> None:
    far = Landmarks(("a",), np.array([[900.0, 0, 0]]))
    assert pair_edges(image(blobs, 1.0), image(blobs, 1.0), far) is None
    assert pair_edges(image(blobs, 1.0), image(blobs * 0, 1.0), None) is None
