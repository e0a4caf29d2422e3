from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration import (
    Landmarks,
    fit_landmarks,
    resample,
    transform_on,
    trust_headers,
    write_transform,
)

CORNERS = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 90], [25, 20, 60], [-20, 35, 30]])
LEVELS = ("L1 left", "L1 tip", "L2 left", "L4 left", "L3 left", "L3 tip")
LPS = np.array([-1.0, -1.0, 1.0])


def landmarks(points: np.ndarray) -> Landmarks:
    return Landmarks(LEVELS, np.asarray(points, dtype=float))


def moved(
    points: np.ndarray, angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> np.ndarray:
    return Rotation.from_euler("xyz", angles_deg, degrees=True).apply(points) + np.array(shift_mm)


@pytest.fixture
def grid() -> MetaTensor:
    """An oblique CT grid with a flipped axis, 60 x 54 x 99 mm around the landmarks."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 8, degrees=True).as_matrix() @ np.diag([-1.5, 1.5, 3.0])
    affine[:3, 3] = (42, -8, -4)
    return MetaTensor(torch.zeros(1, 41, 37, 34), affine=torch.from_numpy(affine))


def voxel_places(grid: MetaTensor, count: int, rng: np.random.Generator) -> np.ndarray:
    indices = rng.uniform(0, np.array(grid.shape[1:]) - 1, (count, 3))
    affine = grid.affine.numpy()
    return indices @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".txt"])
def test_written_transform_reads_back_as_the_same_map(suffix: str, tmp_path: Path) -> None:
    fit = fit_landmarks(landmarks(CORNERS), landmarks(moved(CORNERS, (10, 20, 30), (1, 2, 3))))
    write_transform(fit, tmp_path / f"t{suffix}")
    (back,) = itk.transformread(str(tmp_path / f"t{suffix}"))
    assert type(back).__name__.startswith("itkAffineTransform")  # what Slicer itself writes
    for point in CORNERS.tolist():
        np.testing.assert_allclose(back.TransformPoint(point), fit.transform.TransformPoint(point), atol=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == [f"t{suffix}"]


def test_unknown_transform_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in .tfm, .h5, .txt, got .*t.mat"):
        write_transform(trust_headers(), tmp_path / "t.mat")


@pytest.mark.parametrize("model", ["thin_plate", "per_vertebra"])
def test_a_field_file_maps_points_as_the_fit_does(
    model: str, grid: MetaTensor, tmp_path: Path, rng: np.random.Generator
) -> None:
    bent = moved(CORNERS, (4, -3, 5), (3, 4, -30)) + np.outer(CORNERS[:, 2] ** 2 / 2000, [0, 1, 0])
    fit = fit_landmarks(landmarks(CORNERS), landmarks(bent), model)
    write_transform(fit, tmp_path / "t.h5", grid=grid, spacing_mm=2.0)
    (back,) = itk.transformread(str(tmp_path / "t.h5"))
    assert type(back).__name__.startswith("itkDisplacementFieldTransform")
    places = voxel_places(grid, 200, rng)
    read = np.array([back.TransformPoint(point) for point in (places * LPS).tolist()]) * LPS
    off = np.linalg.norm(read - fit.mapping(places), axis=1)
    assert np.median(off) < 0.1
    assert np.percentile(off, 95) < 0.3  # across the gaps between bones the field bends within one cell
    assert np.linalg.norm(read - places, axis=1).min() > 5  # no place of the CT is left where it was


@pytest.mark.parametrize("spacing_mm", [2.0, 4.0])
def test_a_field_of_a_rigid_motion_is_that_motion(
    spacing_mm: float, grid: MetaTensor, rng: np.random.Generator
) -> None:
    target = moved(CORNERS, (10, 20, 30), (1, 2, 3))
    places = voxel_places(grid, 50, rng)
    transform = transform_on(fit_landmarks(landmarks(CORNERS), landmarks(target), "thin_plate"), grid, spacing_mm)
    read = np.array([transform.TransformPoint(point) for point in (places * LPS).tolist()]) * LPS
    np.testing.assert_allclose(read, moved(places, (10, 20, 30), (1, 2, 3)), atol=1e-3)


@pytest.mark.parametrize("model", ["thin_plate", "per_vertebra"])
def test_resampling_through_a_field_equals_the_map(model: str, grid: MetaTensor) -> None:
    """The moving image holds its own z coordinate, so the result is the z of each mapped voxel."""
    bent = CORNERS + np.outer(CORNERS[:, 2] ** 2 / 2000, [0, 1, 0.5])
    fit = fit_landmarks(landmarks(CORNERS), landmarks(bent), model)
    side = torch.arange(160.0) - 40
    image = MetaTensor(side.expand(1, 160, 160, 160).clone(), affine=torch.eye(4))
    image.affine[:3, 3] = -40
    result = resample(image, fit, grid, outside=-1e3, spacing_mm=2.0).as_tensor()[0].numpy()
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape[1:]), indexing="ij"), -1).reshape(-1, 3)
    affine = grid.affine.numpy()
    expected = fit.mapping(indices @ affine[:3, :3].T + affine[:3, 3])[:, 2].reshape(result.shape)
    inside = result > -1e3
    assert inside.mean() > 0.9
    assert np.percentile(np.abs(result - expected)[inside], 95) < 0.2


def test_a_field_needs_a_grid_an_h5_file_and_a_spacing(grid: MetaTensor, tmp_path: Path) -> None:
    fit = fit_landmarks(landmarks(CORNERS), landmarks(CORNERS + 1), "thin_plate")
    with pytest.raises(ValueError, match=r"a grid and a file ending in \.h5 for a thin_plate fit"):
        write_transform(fit, tmp_path / "t.h5")
    with pytest.raises(ValueError, match=r"ending in \.h5 for a thin_plate fit, got .*t\.tfm"):
        write_transform(fit, tmp_path / "t.tfm", grid=grid)
    with pytest.raises(ValueError, match="spacing above 0 mm, got 0"):
        transform_on(fit, grid, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.assets
def test_our_transform_file_is_of_the_kind_slicer_saves(assets: Path, tmp_path: Path) -> None:
    theirs = itk.transformread(
        str(assets / "data/landmarks_transforms/linear_transform_h5/thewtex_LinearTransform_3.h5")
    )
    write_transform(trust_headers(), tmp_path / "ours.h5")
    ours = itk.transformread(str(tmp_path / "ours.h5"))
    assert [type(t).__name__ for t in ours] == [type(t).__name__ for t in theirs]
