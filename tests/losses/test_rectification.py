from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefuse_ext.losses import RectificationLoss, disagreement_mask


def _voxel(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def _random(classes: int, *size: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    first, second = (torch.randn(2, classes, *size, dtype=dtype) for _ in range(2))
    label = torch.randint(0, classes, (2, *size))
    target = torch.nn.functional.one_hot(label, classes).movedim(-1, 1).to(dtype)
    return first, second, target


def _mcf_two_classes(first: torch.Tensor, second: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """MCF's rectification for one network (Wang et al., CVPR 2023), voxel by voxel, foreground channel only."""
    total, count = torch.zeros((), dtype=first.dtype), 0
    p, q, y = first[:, 1].flatten(), second[:, 1].flatten(), target[:, 1].flatten()
    for index in range(len(p)):
        if (p[index] > 0.5) != (q[index] > 0.5):
            total = total + (p[index] - y[index]) ** 2
            count += 1
    return total / (count + 1e-16)


def test_two_classes_equal_mcf_in_value_and_gradient() -> None:
    first, second, target = _random(2, 5, 6)
    first.requires_grad_()
    loss = RectificationLoss()(first.softmax(1), target, second.softmax(1))
    (gradient,) = torch.autograd.grad(loss, first)
    reference = _mcf_two_classes(first.softmax(1), second.softmax(1), target)
    (expected,) = torch.autograd.grad(reference, first)
    torch.testing.assert_close(loss, reference)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("rival", "expected"),
    [
        pytest.param((0.9, 0.1), 0.0, id="agreement-is-free"),
        pytest.param((0.2, 0.8), 0.01, id="disagreement-is-squared-error"),  # (0.1 - 0) ** 2
    ],
)
def test_value_of_one_voxel(rival: tuple[float, float], expected: float) -> None:
    loss = RectificationLoss()(_voxel(0.9, 0.1), _voxel(1.0, 0.0), _voxel(*rival))
    assert loss.item() == pytest.approx(expected)


def test_value_of_three_classes() -> None:
    # half of (0.5 - 0)^2 + (0.3 - 1)^2 + (0.2 - 0)^2 = half of 0.25 + 0.49 + 0.04
    loss = RectificationLoss()(_voxel(0.5, 0.3, 0.2), _voxel(0.0, 1.0, 0.0), _voxel(0.1, 0.1, 0.8))
    assert loss.item() == pytest.approx(0.39)


def test_full_agreement_gives_0_with_a_finite_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = RectificationLoss()(logits.softmax(1), torch.zeros(1, 3, 4, 4), logits.softmax(1).detach())
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_only_the_first_network_learns() -> None:
    first, second, target = _random(3, 4, 4, 4)
    first.requires_grad_()
    second.requires_grad_()
    RectificationLoss()(first.softmax(1), target, second.softmax(1)).backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert second.grad is None


def test_masked_voxels_count_nowhere() -> None:
    first, second, target = _random(3, 6, 6)
    mask = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    mask[..., :3] = True
    whole = RectificationLoss()(first.softmax(1), target, second.softmax(1), mask)
    part = RectificationLoss()(first[..., :3].softmax(1), target[..., :3], second[..., :3].softmax(1))
    torch.testing.assert_close(whole, part)
    assert RectificationLoss()(first.softmax(1), target, second.softmax(1), ~mask) != whole


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), classes=st.integers(2, 12), size=st.sampled_from([(3, 4), (2, 3, 2)]))
def test_loss_lies_in_0_1_and_ignores_the_order_of_classes(seed: int, classes: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(seed)
    first, second, target = _random(classes, *size)
    order = torch.randperm(classes)
    loss = RectificationLoss()(first.softmax(1), target, second.softmax(1))
    shuffled = RectificationLoss()(first.softmax(1)[:, order], target[:, order], second.softmax(1)[:, order])
    assert 0 <= loss.item() <= 1
    torch.testing.assert_close(loss, shuffled)


def test_half_precision_is_computed_in_float32() -> None:
    first, second, target = _random(4, 64, 64, dtype=torch.float32)
    exact = RectificationLoss()(first.softmax(1).half(), target, second.softmax(1).half())
    assert exact.dtype == torch.float32
    # a sum of some 6000 squared errors in float16 would be off by percents
    torch.testing.assert_close(
        exact, RectificationLoss()(first.softmax(1), target, second.softmax(1)), rtol=1e-2, atol=0
    )


def test_disagreement_of_two_classes_is_the_exclusive_or() -> None:
    first, second, _ = _random(2, 5, 5)
    xor = (first.argmax(1) == 1) ^ (second.argmax(1) == 1)
    assert torch.equal(disagreement_mask(first, second)[:, 0], xor)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one common shape, got input \(1, 2, 1, 1\), target \(1, 3, 1, 1\)"):
        RectificationLoss()(_voxel(0.5, 0.5), _voxel(1.0, 0.0, 0.0), _voxel(0.5, 0.5))
