from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks import DenseRestormerBlock, LiteTransformerBlock
from spinefuse_ext.networks.lite_transformer import DenseChannelAttention, LongShortRangeMixing, PooledAttention
from spinefuse_ext.validation import ConfigError

SIZES = [
    pytest.param((33, 17), id="2d-odd"),
    pytest.param((9, 11, 7), id="3d-odd"),
    pytest.param((1, 1), id="one-voxel"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block_type", [LiteTransformerBlock, DenseRestormerBlock])
def test_keeps_shape_and_passes_gradients(block_type: type[nn.Module], size: tuple[int, ...]) -> None:
    block = block_type(len(size), 8, 2)
    x = torch.randn(2, 8, *size, requires_grad=True)
    y = block(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in block.parameters())


def _token_attention(attention: PooledAttention, x: torch.Tensor) -> torch.Tensor:
    """Ordinary multi-head self-attention over all pixels, written out: softmax(q k / sqrt(width)) v."""
    batch, dim, height, width = x.shape
    heads, tokens = attention.num_heads, x.flatten(2).transpose(1, 2)
    query = F.linear(tokens, attention.query.weight[:, :, 0, 0], attention.query.bias)
    key, value = F.linear(tokens, attention.key_value.weight[:, :, 0, 0], attention.key_value.bias).chunk(2, dim=-1)
    split = [t.view(batch, -1, heads, dim // heads).transpose(1, 2) for t in (query, key, value)]
    weights = (split[0] @ split[1].transpose(2, 3) / (dim // heads) ** 0.5).softmax(-1)
    merged = (weights @ split[2]).transpose(1, 2).reshape(batch, -1, dim)
    out = F.linear(merged, attention.project_out.weight[:, :, 0, 0], attention.project_out.bias)
    return out.transpose(1, 2).view(batch, dim, height, width)


def test_small_image_is_attended_in_full() -> None:
    attention = PooledAttention(2, 8, 2, pool_size=16)
    x = torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(attention(x), _token_attention(attention, x))


def test_attention_sees_at_most_the_pooled_grid() -> None:
    pooled = PooledAttention(2, 4, 1, pool_size=4)._pool(torch.rand(1, 4, 33, 8))
    assert pooled.shape == (1, 4, 4, 4)


def test_long_range_branch_reaches_across_the_image_and_the_convolution_does_not() -> None:
    block = LiteTransformerBlock(2, 8, 1, kernel_size=3)
    mixing: Any = block.mixing
    x = torch.randn(1, 4, 32, 32)
    moved = x.clone()
    moved[..., 0, 0] += 5.0
    gate = mixing.short_range[3]
    mixing.short_range[3] = nn.Identity()  # the gate is a mean over the image, on purpose; judge the convolution alone
    far = (mixing.long_range(moved) - mixing.long_range(x))[..., 31, 31].abs().max()
    near = (mixing.short_range(moved) - mixing.short_range(x))[..., 31, 31].abs().max()
    assert far > 0
    assert near == 0
    assert gate(x).shape == x.shape


def test_each_half_of_the_channels_has_its_branch() -> None:
    mixing = LongShortRangeMixing(nn.Identity(), nn.Tanh())
    x = torch.randn(1, 6, 3, 3)
    torch.testing.assert_close(mixing(x), torch.cat((x[:, :3], x[:, 3:].tanh()), dim=1))


def test_has_a_fraction_of_the_weights_of_the_dense_block() -> None:
    sizes = [
        sum(p.numel() for p in block(2, 64, 4).parameters()) for block in (LiteTransformerBlock, DenseRestormerBlock)
    ]
    # CDDFuse counts 363,016: with 8 heads there are 4 temperatures more
    assert sizes[1] == 363_012
    assert sizes[0] < sizes[1] / 15


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_constant_input_is_finite_forward_and_backward(level: float, dtype: torch.dtype) -> None:
    block = LiteTransformerBlock(2, 8, 2)
    x = torch.full((1, 8, 20, 20), level, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        y = block(x)
    y.float().sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_merged_convolution_equals_projection_then_convolution(size: tuple[int, ...]) -> None:
    attention = DenseChannelAttention(len(size), 8, 2)
    x = torch.randn(2, 8, *size)
    torch.testing.assert_close(attention._mix(x), attention.qkv_dwconv(attention.qkv(x)))


def test_refuses_odd_channels() -> None:
    with pytest.raises(ConfigError, match="even number of channels that splits in half, got 7"):
        LiteTransformerBlock(2, 7, 1)


def test_refuses_heads_that_do_not_divide_the_attention_half() -> None:
    with pytest.raises(ConfigError, match="4 channels and 3 heads"):
        LiteTransformerBlock(2, 8, 3)
