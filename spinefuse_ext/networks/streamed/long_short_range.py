"""Long-short range mixing strip by strip: a first pass makes the pooled grid and the means, a second all the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from spinefuse_ext.networks.kernels import convolve, kernel_of
from spinefuse_ext.networks.lite_transformer import GatedConvolution, LongShortRangeMixing, PooledAttention
from spinefuse_ext.networks.restormer import at_least_float32, channels_last
from spinefuse_ext.networks.streamed.registry import (
    LONG_RANGES,
    MIXINGS,
    SHORT_RANGES,
    LongRange,
    Mixing,
    ShortRange,
)
from spinefuse_ext.networks.strips import LocalFunction, reach, strips


@MIXINGS.register(LongShortRangeMixing)
def _mixing(mixing: LongShortRangeMixing) -> Mixing | None:
    far, near = LONG_RANGES.find(mixing.long_range), SHORT_RANGES.find(mixing.short_range)
    return None if far is None or near is None else partial(_update, reach(mixing), far, near)


def _update(
    halo: int, long_range: LongRange, short_range: ShortRange, x: torch.Tensor, norm: nn.Module
) -> Iterator[int]:
    far, near = (torch.empty_like(half) for half in x.chunk(2, dim=1))
    total = at_least_float32(x.new_zeros(near.shape[:2]))
    for strip in strips(x, halo):
        normed = norm(strip.take(x))
        strip.rows(far).copy_(strip.core(normed[:, : far.shape[1]]))
        local = strip.core(short_range.local(normed[:, far.shape[1] :]))
        strip.rows(near).copy_(local)
        total += at_least_float32(local).flatten(2).sum(2)
    attend = long_range(far)
    mean = (total / math.prod(x.shape[2:])).to(x.dtype)
    for strip in strips(x, 0):
        to_far, to_near = strip.rows(x).chunk(2, dim=1)
        to_far += attend(strip.rows(far))
        to_near += short_range.finish(strip.rows(near), mean)
        yield strip.last


@LONG_RANGES.register(PooledAttention)
def _pooled_attention(attention: PooledAttention) -> LongRange:
    def to_whole(x: torch.Tensor) -> LocalFunction:
        key, value = attention.keys_and_values(_pool(attention, x))
        return lambda rows: attention.attend(rows, key, value)

    return to_whole


def _pool(attention: PooledAttention, x: torch.Tensor) -> torch.Tensor:
    """The pooled grid of one image ``(1, C, *S)``, half precision summed in float32."""
    cell, size = attention.cell(x), x.shape[2]
    row = torch.arange(size, device=x.device) // cell[0]
    rows = [attention.cell_means(strip.rows(x), [1, *cell[1:]]) for strip in strips(x, 0)]
    flat = at_least_float32(torch.cat(rows, dim=2))
    sums = flat.new_zeros(1, x.shape[1], int(row[-1]) + 1, *flat.shape[3:]).index_add_(2, row, flat)
    return (sums / row.bincount().reshape(-1, *[1] * (x.ndim - 3))).to(x.dtype)


@SHORT_RANGES.register(GatedConvolution)
def _gated_convolution(layers: GatedConvolution) -> ShortRange:
    (wide, wide_bias), (narrow, narrow_bias) = kernel_of(layers[0]), kernel_of(layers[4])
    value_bias, gate_bias = (None, None) if wide_bias is None else wide_bias.chunk(2)
    to_value, to_gate = wide.chunk(2)

    def local(x: torch.Tensor) -> torch.Tensor:
        x = channels_last(x)
        value, gate = convolve(x, to_value, value_bias), convolve(x, to_gate, gate_bias)  # bfloat16 is slow to cut
        return layers[2](value.mul_(gate.sigmoid_()))

    def finish(x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        gate = layers[3].get_submodule("fc")(mean).unflatten(1, (-1, *[1] * (x.ndim - 2)))
        return convolve(x, narrow * gate, narrow_bias)

    return ShortRange(local, finish)
