"""What the fused image should keep: brightness, edges with their direction, local structure."""

from __future__ import annotations

import math

import pytest
import torch

from spinefuse_ext.losses import StructureFusionLoss, lost_edges, lost_information
from spinefuse_ext.metrics import edge_preservation, entropy, mutual_information


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


def _whole_levels(*shape: int) -> torch.Tensor:
    return (255 * _smooth(*shape)).round() / 255


@pytest.mark.parametrize("size", [(32, 40), (16, 12, 16)])
def test_on_whole_levels_the_lost_information_is_what_the_score_leaves_of_the_entropies(size: tuple[int, ...]) -> None:
    pair = _whole_levels(1, 2, *size)
    available = torch.stack([entropy(modality) for modality in pair.split(1, 1)]).sum() * math.log(2)
    for fused in (pair.amax(1, keepdim=True), pair[:, 1:], (255 * pair.mean(1, keepdim=True)).round() / 255):
        expected = 1 - mutual_information(fused, pair) / available
        assert lost_information(fused, pair).item() == pytest.approx(expected.item(), abs=1e-4)


def test_copies_of_values_between_levels_lose_no_more_information_than_copies_of_levels() -> None:
    pair = _smooth(1, 2, 32, 32)
    whole = (255 * pair).round() / 255
    between, on_levels = (lost_information(each.amax(1, keepdim=True), each) for each in (pair, whole))
    assert between.item() == pytest.approx(on_levels.item(), abs=1e-4)


def test_a_blurred_copy_loses_information() -> None:
    pair = _whole_levels(1, 2, 32, 32)
    copy = pair.amax(1, keepdim=True)
    blurred = torch.nn.functional.avg_pool2d(copy, 3, 1, 1)
    assert lost_information(blurred, pair) > lost_information(copy, pair) + 0.05


TERMS = ("intensity_weight", "gradient_weight", "edge_weight", "ssim_weight", "information_weight")


@pytest.mark.parametrize("weight", TERMS)
def test_every_term_pulls(weight: str) -> None:
    only = dict.fromkeys(TERMS, 0.0) | {weight: 1.0}
    fused, pair = _smooth(1, 1, 16, 16).requires_grad_(), _smooth(1, 2, 16, 16)
    StructureFusionLoss(**only)(fused, pair).backward()
    assert fused.grad is not None
    assert fused.grad.abs().sum() > 0


def test_no_order_of_the_modalities() -> None:
    fused, pair = _smooth(2, 1, 16, 16), _smooth(2, 2, 16, 16)
    torch.testing.assert_close(StructureFusionLoss()(fused, pair), StructureFusionLoss()(fused, pair.flip(1)))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_give_finite_gradients(value: float) -> None:
    fused = torch.full((1, 1, 16, 16), value, requires_grad=True)
    loss = StructureFusionLoss(information_weight=1.0)(fused, torch.full((1, 2, 16, 16), value))
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
    with pytest.raises(ValueError, match="positive data range"):
        StructureFusionLoss(data_range=0)
