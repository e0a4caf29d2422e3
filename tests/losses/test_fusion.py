from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from spinefuse_ext.losses import FusionLoss
from spinefuse_ext.losses.fusion import edge_strength


@pytest.mark.parametrize("size", [(9, 11), (5, 7, 6)])
def test_gradient_reaches_every_voxel(size: tuple[int, ...]) -> None:
    fused = torch.rand(2, 1, *size, requires_grad=True)
    FusionLoss()(fused, torch.rand(2, 2, *size)).backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()
    assert (fused.grad != 0).any()


def test_intensity_term_is_the_distance_to_the_brighter_modality() -> None:
    pair = torch.tensor([[0.2, 0.9], [0.6, 0.1]]).view(1, 2, 1, 2)
    fused = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    # |0.5 - 0.6| and |0.5 - 0.9|
    assert FusionLoss(gradient_weight=0)(fused, pair).item() == pytest.approx((0.1 + 0.4) / 2)


def test_edge_strength_is_the_classic_sobel_in_2d() -> None:
    image = np.random.default_rng(0).random((9, 7))
    expected = sum(np.abs(ndimage.sobel(image, axis=axis, mode="constant")) for axis in range(2))
    torch.testing.assert_close(edge_strength(torch.from_numpy(image)[None, None])[0, 0], torch.from_numpy(expected))


def test_edge_strength_of_a_ramp_is_the_same_in_2d_and_3d() -> None:
    ramp = torch.arange(5.0)
    flat = edge_strength(ramp.expand(1, 1, 5, 5))[0, 0, 2, 2]
    solid = edge_strength(ramp.expand(1, 1, 5, 5, 5))[0, 0, 2, 2, 2]
    assert flat == solid == 8.0


def test_maximum_of_equal_modalities_is_a_perfect_fusion() -> None:
    image = torch.rand(1, 1, 8, 8)
    assert FusionLoss()(image, image.expand(1, 2, 8, 8)).item() == pytest.approx(0, abs=1e-6)


def test_keeps_the_stronger_edge_of_either_modality() -> None:
    ct, mr = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    ct[..., 2:5] = 0.5
    mr[..., 6:7, :] = 0.25
    pair = torch.cat((ct, mr), dim=1)
    edges = FusionLoss(intensity_weight=0)
    assert edges(torch.maximum(ct, mr), pair) < edges(ct, pair) < edges(torch.zeros_like(ct), pair)


def test_order_of_the_modalities_does_not_matter() -> None:
    fused, pair = torch.rand(1, 1, 8, 8), torch.rand(1, 2, 8, 8)
    torch.testing.assert_close(FusionLoss()(fused, pair), FusionLoss()(fused, pair.flip(1)))


def test_half_precision_gives_a_float32_loss() -> None:
    fused, pair = torch.rand(1, 1, 8, 8), torch.rand(1, 2, 8, 8)
    assert FusionLoss()(fused.bfloat16(), pair).dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (2, 1, 8, 8), (1, 1, 8, 9)])
def test_refuses_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Expected a fused image"):
        FusionLoss()(torch.rand(shape), torch.rand(1, 2, 8, 8))
