"""What the fused image should keep: brightness, edges with their direction, local structure."""

from __future__ import annotations

import pytest
import torch

from spinefuse_ext.losses import StructureFusionLoss, lost_edges
from spinefuse_ext.metrics import edge_preservation


def _smooth(*shape: int) -> torch.Tensor:
    coarse = torch.rand(*shape[:2], *(size // 4 for size in shape[2:]))
    return torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear" if len(shape) == 4 else "trilinear")


@pytest.mark.parametrize("size", [(16, 20), (12, 8, 16)])
def test_identical_modalities_cost_nothing_but_the_measures_own_ceiling(size: tuple[int, ...]) -> None:
    image = _smooth(1, 1, *size)
    pair = torch.cat((image, image), 1)
    assert StructureFusionLoss(edge_weight=0)(image, pair).item() == pytest.approx(0, abs=1e-5)
    assert 0 <= lost_edges(image, pair) < 0.05


def test_an_edge_turned_round_costs_more_than_the_edge_itself() -> None:
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    pair = torch.cat((ramp, torch.zeros_like(ramp)), 1)
    loss = StructureFusionLoss(intensity_weight=0, edge_weight=0, ssim_weight=0, gradient_weight=1)
    assert loss(1 - ramp, pair).item() == pytest.approx(2 * loss(torch.zeros_like(ramp), pair).item(), rel=1e-4)
    assert loss(ramp, pair).item() == pytest.approx(0, abs=1e-6)


def test_lost_edges_fall_as_the_score_of_preserved_edges_rises() -> None:
    pair = _smooth(1, 2, 64, 64)
    images = [pair.mean(1, keepdim=True), pair.amax(1, keepdim=True), pair[:, :1], torch.full_like(pair[:, :1], 0.5)]
    lost = torch.stack([lost_edges(image, pair) for image in images])
    kept = torch.cat([edge_preservation(image, pair).flatten() for image in images])
    assert torch.equal(lost.argsort(), kept.argsort(descending=True))


WEIGHTS = (
    "intensity_weight",
    "gradient_weight",
    "edge_weight",
    "ssim_weight",
    "fidelity_weight",
    "information_weight",
)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_term_pulls(weight: str) -> None:
    only = dict.fromkeys(WEIGHTS, 0.0) | {weight: 1.0}
    fused, pair = _smooth(1, 1, 20, 20).requires_grad_(), _smooth(1, 2, 20, 20)
    StructureFusionLoss(**only, information_reach=1.0)(fused, pair).backward()
    assert fused.grad is not None
    assert fused.grad.abs().sum() > 0


def test_no_order_of_the_modalities() -> None:
    fused, pair = _smooth(2, 1, 16, 16), _smooth(2, 2, 16, 16)
    torch.testing.assert_close(StructureFusionLoss()(fused, pair), StructureFusionLoss()(fused, pair.flip(1)))


def test_information_moves_no_voxel_that_was_corrected() -> None:
    pair = _smooth(1, 2, 20, 20)
    fused = pair.amax(1, keepdim=True) + 0.001
    fused[..., :10] -= 0.2
    fused.requires_grad_()
    StructureFusionLoss(**dict.fromkeys(WEIGHTS[:-1], 0.0), information_weight=1.0)(fused, pair).backward()
    assert fused.grad is not None
    assert fused.grad[..., :10].abs().max() == 0
    assert fused.grad[..., 10:].abs().max() > 0


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_give_finite_gradients(value: float) -> None:
    fused = torch.full((1, 1, 20, 20), value, requires_grad=True)
    loss = StructureFusionLoss(fidelity_weight=1, information_weight=1)(fused, torch.full((1, 2, 20, 20), value))
    loss.backward()
    assert loss.isfinite()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()


def test_half_precision_is_computed_in_single() -> None:
    assert StructureFusionLoss()(_smooth(1, 1, 16, 16).bfloat16(), _smooth(1, 2, 16, 16)).dtype == torch.float32


def test_sizes_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected a fused image"):
        StructureFusionLoss()(torch.rand(1, 2, 16, 16), torch.rand(1, 2, 16, 16))
    with pytest.raises(ValueError, match="at least 7 voxels"):
        StructureFusionLoss()(torch.rand(1, 1, 6, 16), torch.rand(1, 2, 6, 16))
    with pytest.raises(ValueError, match="data_range is a number above 0"):
        StructureFusionLoss(data_range=0)
