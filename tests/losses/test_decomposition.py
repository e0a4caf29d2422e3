from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefuse_ext.losses import DecompositionLoss
from spinefuse_ext.losses.decomposition import correlation


def _features(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 2, -1)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param((1.0, 2.0, 3.0, 4.0), 1.0, id="itself"),
        pytest.param((8.0, 6.0, 4.0, 2.0), -1.0, id="reversed-and-scaled"),
        pytest.param((1.0, -1.0, -1.0, 1.0), 0.0, id="even-against-odd"),
        pytest.param((5.0, 5.0, 5.0, 5.0), 0.0, id="constant-has-none"),
    ],
)
def test_correlation_value(second: tuple[float, ...], expected: float) -> None:
    assert correlation(_features(1, 2, 3, 4), _features(*second)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_correlation_is_the_mean_of_numpys(size: tuple[int, ...]) -> None:
    first, second = torch.randn(2, 2, 3, *size, dtype=torch.float64)
    second = second + 0.5 * first
    rows = zip(first.flatten(2).flatten(0, 1).numpy(), second.flatten(2).flatten(0, 1).numpy(), strict=True)
    expected = np.mean([np.corrcoef(one, other)[0, 1] for one, other in rows])
    assert correlation(first, second).item() == pytest.approx(expected)


def test_constant_channels_are_left_out_of_the_mean() -> None:
    first, second = torch.randn(2, 1, 1, 6, 6)
    constant = torch.full((1, 3, 6, 6), 7.0)
    padded = correlation(torch.cat((first, constant), 1), torch.cat((second, torch.randn(1, 3, 6, 6)), 1))
    torch.testing.assert_close(padded, correlation(first, second))


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.1, 100), offset=st.floats(-10, 10), seed=st.integers(0, 99))
def test_correlation_ignores_scale_offset_and_order(scale: float, offset: float, seed: int) -> None:
    first, second = torch.randn(2, 1, 2, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = correlation(first, second)
    torch.testing.assert_close(correlation(scale * first + offset, second), expected)
    torch.testing.assert_close(correlation(second, first), expected)


def test_loss_value() -> None:
    same, other = _features(1, 2, 3, 4), _features(4, 3, 2, 1)
    # bases agree (1), details are opposed (-1): 1 / (1.01 + 1)
    assert DecompositionLoss()(same, same, same, other).item() == pytest.approx(1 / 2.01)
    # bases opposed: 1 / (1.5 - 1)
    assert DecompositionLoss(offset=1.5)(same, other, same, same).item() == pytest.approx(2.0, rel=1e-5)


def test_prefers_agreeing_bases_and_unrelated_details() -> None:
    base, noise, detail, unrelated = torch.randn(4, 1, 4, 16, 16)
    good = DecompositionLoss()(base, base + 0.1 * noise, detail, unrelated)
    assert good < DecompositionLoss()(base, noise, detail, unrelated)
    assert good < DecompositionLoss()(base, base + 0.1 * noise, detail, detail)


@pytest.mark.parametrize("level", [0.0, 1.0, 1e-7])
def test_blank_features_give_finite_loss_and_gradients(level: float) -> None:
    features = [torch.randn(2, 3, 4, 4).requires_grad_() for _ in range(4)]
    blank = torch.randn(2, 3, 4, 4)
    blank[0] = level
    features[2] = blank.requires_grad_()
    loss = DecompositionLoss()(*features)
    loss.backward()
    assert loss.isfinite()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in features)
    assert blank.grad is not None
    assert blank.grad[0].abs().max() == 0
    assert blank.grad[1].abs().max() > 0


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
def test_gradient_is_that_of_the_loss(size: tuple[int, ...]) -> None:
    features = [torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(DecompositionLoss(), features)


def test_half_precision_is_computed_in_float32() -> None:
    first = (1000 * torch.ones(1, 1, 64, 64) + 10 * torch.randn(1, 1, 64, 64)).half()
    value = correlation(first, first)  # the sum of squares is far beyond float16
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(1.0, abs=1e-4)


def test_refuses_an_offset_that_lets_the_divisor_vanish() -> None:
    with pytest.raises(ValueError, match="offset is a number above 1"):
        DecompositionLoss(offset=1.0)


def test_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"first \(1, 1, 2, 2\), second \(1, 1, 2, 3\)"):
        correlation(torch.rand(1, 1, 2, 2), torch.rand(1, 1, 2, 3))
