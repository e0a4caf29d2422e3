from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration import Landmarks, fit_landmarks, resample, trust_headers

CORNERS = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 90], [25, 20, 60]])


def grid(
    shape: tuple[int, ...], spacing: tuple[float, ...], origin: tuple[float, ...], angle_deg: float = 0
) -> MetaTensor:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", angle_deg, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = origin
    return MetaTensor(torch.zeros(1, *shape), affine=torch.from_numpy(affine))


def positions(image: MetaTensor) -> np.ndarray:
    """RAS mm of every voxel, (X, Y, Z, 3)."""
    indices = np.stack(np.meshgrid(*map(np.arange, image.shape[1:]), indexing="ij"), -1)
    affine = image.affine.numpy()
    return indices @ affine[:3, :3].T + affine[:3, 3]


def painted(image: MetaTensor, slope: tuple[float, float, float]) -> MetaTensor:
    """The grid with the value slope . position + 5: linear, so linear interpolation is exact."""
    return MetaTensor(torch.from_numpy(positions(image) @ np.array(slope) + 5)[None].float(), affine=image.affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (-0.7, 1.3, 2.0)], ids=["unit", "flipped"])
@pytest.mark.parametrize("shape", [(7, 5, 9), (6, 5, 1)], ids=["volume", "one-slice"])
def test_identity_on_one_grid_changes_nothing(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    image = grid(shape, spacing, (-3, 20, 100), angle_deg=20)
    image[:] = torch.rand(1, *shape)
    same = resample(image, trust_headers(), image)
    torch.testing.assert_close(same.as_tensor(), image.as_tensor(), atol=1e-5, rtol=0)
    assert torch.equal(same.affine, image.affine)


@settings(max_examples=15, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-25, 25)] * 3),
    shift=st.tuples(*[st.floats(-8, 8)] * 3),
    slope=st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_a_moved_linear_image_comes_back_to_its_values(
    angles: tuple[float, float, float], shift: tuple[float, float, float], slope: tuple[float, float, float]
) -> None:
    rotation = Rotation.from_euler("xyz", angles, degrees=True)
    names = tuple(map(str, range(len(CORNERS))))
    fit = fit_landmarks(Landmarks(names, CORNERS), Landmarks(names, rotation.apply(CORNERS) + shift))
    reference = grid((6, 7, 5), (1.5, 1.0, -2.0), (1, 2, 12))
    moving = painted(grid((50, 45, 25), (-1.0, 1.1, 2.0), (25, -25, -25), angle_deg=10), slope)
    outside = -1e6
    result = resample(moving, fit, reference, outside=outside).as_tensor()[0].numpy()
    moved = rotation.apply(positions(reference).reshape(-1, 3)) + shift
    to_voxel = np.linalg.inv(moving.affine.numpy())
    voxels = moved @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    # between voxel centres; within half a voxel beyond the outermost ones their values are repeated
    inside = ((voxels >= 0) & (voxels <= np.array(moving.shape[1:]) - 1)).all(1).reshape(result.shape)
    assert inside.mean() > 0.5
    expected = (moved @ np.array(slope) + 5).reshape(result.shape)
    np.testing.assert_allclose(result[inside], expected[inside], atol=2e-3)  # float32 voxels


def test_a_shift_by_whole_voxels_moves_voxels_and_fills_with_the_minimum() -> None:
    image = grid((5, 4, 3), (2.0, 2.0, 2.0), (0, 0, 0))
    image[:] = torch.rand(1, 5, 4, 3) + 1
    names = tuple(map(str, range(len(CORNERS))))
    fit = fit_landmarks(
        Landmarks(names, CORNERS), Landmarks(names, CORNERS + np.array([2, 0, 0]))
    )  # one voxel to the right
    result = resample(image, fit, image)
    torch.testing.assert_close(result.as_tensor()[:, :4], image.as_tensor()[:, 1:], atol=1e-5, rtol=0)
    assert (result[:, 4] == image.min()).all()


def test_the_result_has_the_reference_grid_and_the_moving_image_meta() -> None:
    moving = grid((4, 4, 4), (1, 1, 1), (0, 0, 0))
    moving.meta["patient_id"] = "p1"
    reference = grid((3, 5, 2), (1, 2, 3), (1, 1, 1), angle_deg=30)
    result = resample(moving, trust_headers(), reference)
    assert result.shape == reference.shape
    assert torch.equal(result.affine, reference.affine)
    assert result.meta["patient_id"] == "p1"
    assert result.meta["spatial_shape"].tolist() == [3, 5, 2]


def test_several_channels_are_refused() -> None:
    pair = MetaTensor(torch.zeros(2, 4, 4, 4), affine=torch.eye(4))
    with pytest.raises(ValueError, match=r"\(1, X, Y, Z\), got \(2, 4, 4, 4\)"):
        resample(pair, trust_headers(), pair)
