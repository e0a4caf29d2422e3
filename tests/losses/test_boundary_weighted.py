from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from spinefuse_ext.losses import BoundaryWeightedLoss, boundary_weight


def _binary_reference(logit: torch.Tensor, mask: torch.Tensor, window: int) -> torch.Tensor:
    """F3Net's formula for one foreground logit ``(B, 1, H, W)``, per case."""
    weight = 1 + 5 * (functional.avg_pool2d(mask, window, stride=1, padding=window // 2) - mask).abs()
    entropy = functional.binary_cross_entropy_with_logits(logit, mask, reduction="none")
    entropy = (weight * entropy).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    p = logit.sigmoid()
    overlap, both = (p * mask * weight).sum((1, 2, 3)), ((p + mask) * weight).sum((1, 2, 3))
    return entropy + 1 - (overlap + 1) / (both - overlap + 1)


def _one_hot(classes: torch.Tensor, count: int) -> torch.Tensor:
    return functional.one_hot(classes, count).movedim(-1, 1).double()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("window", [5, 31])
def test_two_classes_are_the_published_formula_up_to_the_border(window: int, soft: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 20, 24, dtype=torch.double)
    mask = torch.rand(3, 1, 20, 24, dtype=torch.double)
    mask = mask if soft else (mask > 0.6).double()
    loss = BoundaryWeightedLoss(window)(logits, torch.cat((1 - mask, mask), dim=1))
    torch.testing.assert_close(loss, _binary_reference(logits[:, 1:] - logits[:, :1], mask, window).mean())


@pytest.mark.parametrize("dims", [2, 3])
def test_weight_is_the_share_of_other_classes_around(dims: int) -> None:
    torch.manual_seed(1)
    classes = torch.randint(0, 4, (2, *[9] * dims))
    weight = boundary_weight(_one_hot(classes, 4), window=3)
    middle = (0, *[slice(3, 6)] * dims)
    expected = 1 + 5 * (classes[middle] != classes[(0, *[4] * dims)]).double().mean()
    torch.testing.assert_close(weight[(0, 0, *[4] * dims)], expected)


def test_three_classes_by_hand() -> None:
    """Where the window is one voxel all weights are 1."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.double).view(1, 3, 2, 1)
    target = _one_hot(torch.tensor([[[0], [1]]]), 3)
    p = logits.softmax(1)[0, :, :, 0]
    entropy = -(p[0, 0].log() + p[1, 1].log()) / 2
    first = 1 - (p[1, 1] + 1) / (p[1].sum() + 1 - p[1, 1] + 1)
    second = 1 - 1 / (p[2].sum() + 1)
    loss = BoundaryWeightedLoss(window=1)(logits, target)
    torch.testing.assert_close(loss, entropy + (first + second) / 2)


def test_masked_voxels_and_cases_without_a_share_do_not_count() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 8, 8), _one_hot(torch.randint(0, 3, (2, 8, 8)), 3).float()
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :2] = False
    loss = BoundaryWeightedLoss(5)
    expected = loss(logits[1:], target[1:], mask[1:])
    changed = logits.clone()
    changed[:, :, :2] += 3
    changed[0] = 0
    torch.testing.assert_close(loss(changed, target, mask, torch.tensor([0.0, 1.0])), expected)
    assert loss(logits, target, mask, torch.zeros(2)) == 0


def test_a_better_prediction_costs_less_and_only_the_input_has_a_gradient() -> None:
    target = _one_hot(torch.randint(0, 3, (2, 8, 8, 8)), 3).float().requires_grad_()
    good, bad = (6 * sign * target.detach() for sign in (1, -1))
    loss = BoundaryWeightedLoss()
    assert loss(good, target) < 0.1 < 1 < loss(bad, target)
    loss(good.requires_grad_(), target).backward()
    assert target.grad is None
    assert good.grad is not None
    assert good.grad.abs().sum() > 0


def test_an_absent_foreground_is_learnt_as_absent() -> None:
    target = _one_hot(torch.zeros(1, 8, 8, dtype=torch.long), 2).float()
    quiet, loud = (torch.tensor([level, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8) for level in (9.0, 0.0))
    assert BoundaryWeightedLoss()(quiet, target) < 0.02
    assert BoundaryWeightedLoss()(loud, target) > 1


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window is an odd number of voxels, got 30"):
        BoundaryWeightedLoss(30)
