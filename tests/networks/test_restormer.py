from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.blocks.cablock import CABlock, FeedForward
from torch import nn

from spinefuse_ext.networks import RestormerBlock
from spinefuse_ext.networks.restormer import (
    ChannelAttention,
    ChannelNorm,
    GatedFeedForward,
    gram,
)
from spinefuse_ext.validation import ConfigError

SIZES = [pytest.param((13, 17), id="2d-odd"), pytest.param((5, 7, 9), id="3d-odd"), pytest.param((1, 3), id="one-line")]


def _perturbed(module: nn.Module) -> nn.Module:
    """Give every parameter a value of its own: temperatures start at 1 and would hide a wrong axis."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("size", SIZES)
def test_keeps_shape_and_passes_gradients(size: tuple[int, ...]) -> None:
    block = RestormerBlock(len(size), 8, 2)
    x = torch.randn(2, 8, *size, requires_grad=True)
    y = block(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in block.parameters())


def _rearrange(x: torch.Tensor, pattern: str, head: int, **size: int) -> torch.Tensor:
    """The two rearrangements that MONAI's block asks of einops, which is not among the requirements."""
    if pattern.startswith("b (head c)"):
        return x.reshape(x.shape[0], head, x.shape[1] // head, -1)
    return x.reshape(x.shape[0], -1, *size.values())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_attention_equals_monai(spatial_dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai.networks.blocks.cablock.rearrange", _rearrange)
    x = torch.randn(2, 8, *(5, 6, 7)[:spatial_dims])
    theirs = _perturbed(CABlock(spatial_dims, 8, 4, bias=True))
    ours = ChannelAttention(spatial_dims, 8, 4, bias=True)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_feed_forward_equals_monai(spatial_dims: int) -> None:
    x = torch.randn(2, 8, *(5, 6, 7)[:spatial_dims])
    theirs = FeedForward(spatial_dims, 8, 2.5, True)
    ours = GatedFeedForward(spatial_dims, 8, 2.5, True)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


def test_inner_products_have_the_gradient_of_their_formula() -> None:
    tokens = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gram(tokens), torch.einsum("bvc,bvd->bcd", tokens, tokens))
    assert torch.autograd.gradcheck(gram, tokens)


def test_norm_is_over_channels_with_biased_variance() -> None:
    x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    # mean 2, variance 1: (1 - 2) / sqrt(1 + 1e-5)
    expected = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(ChannelNorm(2)(x), expected)


def test_attention_ignores_the_order_of_voxels_but_for_its_convolution() -> None:
    attention: Any = ChannelAttention(2, 8, 2)
    nn.init.dirac_(attention.qkv_dwconv.conv.weight, groups=24)  # a 3x3 convolution that looks at its centre only
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(attention(x.transpose(2, 3)), attention(x).transpose(2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blank_input_is_finite_forward_and_backward(dtype: torch.dtype) -> None:
    block = RestormerBlock(2, 8, 2)
    x = torch.zeros(1, 8, 9, 9, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        y = block(x)
    y.float().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in block.parameters())


def test_refuses_heads_that_do_not_divide_the_channels() -> None:
    with pytest.raises(ConfigError, match="8 channels and 3 heads"):
        RestormerBlock(2, 8, 3)


def test_refuses_other_dimensions() -> None:
    with pytest.raises(ValueError, match="spatial_dims 2 or 3, got 4"):
        RestormerBlock(4, 8, 2)
