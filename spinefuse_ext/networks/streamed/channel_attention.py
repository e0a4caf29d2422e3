"""Channel attention strip by strip: inner products are sums over the voxels, so each strip adds its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from spinefuse_ext.networks.kernels import add_convolution, convolve, kernel_of
from spinefuse_ext.networks.lite_transformer import DenseChannelAttention
from spinefuse_ext.networks.restormer import ChannelAttention, at_least_float32
from spinefuse_ext.networks.streamed.registry import MIXINGS, Mixing
from spinefuse_ext.networks.strips import LocalFunction, reach, strips


@MIXINGS.register(ChannelAttention)
def _depth_wise(attention: ChannelAttention) -> Mixing:
    return partial(_update, attention, partial(_some_depth_wise, attention))


@MIXINGS.register(DenseChannelAttention)
def _dense(attention: DenseChannelAttention) -> Mixing:
    return partial(_update, attention, partial(_some_dense, attention))


def _some_depth_wise(attention: ChannelAttention, channels: torch.Tensor) -> LocalFunction:
    """Of an image to some ``channels`` of its queries, keys and values."""
    (wide, wide_bias), (local, local_bias) = (
        (weight[channels], None if bias is None else bias[channels])
        for weight, bias in map(kernel_of, (attention.qkv, attention.qkv_dwconv))
    )
    return lambda x: convolve(convolve(x, wide, wide_bias), local, local_bias, groups=len(channels))


def _some_dense(attention: DenseChannelAttention, channels: torch.Tensor) -> LocalFunction:
    weight = attention.merged()[channels]
    return lambda x: convolve(x, weight)


def _update(
    attention: ChannelAttention,
    some: Callable[[torch.Tensor], LocalFunction],
    x: torch.Tensor,
    norm: nn.Module,
) -> Iterator[int]:
    """Values wait for the last strip; only channels of one head meet, so its queries and keys lie side by side."""
    dim = x.shape[1]
    groups = 1 if x.dtype == torch.bfloat16 else attention.num_heads  # of bfloat16 the whole product is faster
    order = torch.arange(2 * dim, device=x.device).reshape(2, groups, -1).transpose(0, 1).flatten()
    queries_keys_of, values_of = some(order), some(torch.arange(2 * dim, 3 * dim, device=x.device))
    product = at_least_float32(x.new_zeros(groups, 2 * dim // groups, 2 * dim // groups))
    values = []
    for strip in strips(x, reach(attention)):
        normed = norm(strip.take(x))
        values.append((strip, strip.core(values_of(normed))))
        add_products(strip.core(queries_keys_of(normed))[0].flatten(1).t(), product)
    cosines = torch.block_diag(*map(_cosines, product))
    matrix = attention.output_matrix(attention.attend(cosines.unsqueeze(0)))
    _, bias = kernel_of(attention.project_out)
    for strip, value in values:
        add_convolution(strip.rows(x), value, matrix.reshape(dim, dim, *[1] * (x.ndim - 2)), bias)
        yield strip.last


def add_products(tokens: torch.Tensor, product: torch.Tensor) -> None:
    """Add to ``product`` ``(groups, C, C)`` the inner products in each group of ``tokens`` ``(voxels, groups * C)``."""
    with torch.autocast("cpu", enabled=False):
        if len(product) == 1 and tokens.dtype != torch.float16:
            product[0] += tokens.t() @ tokens
        else:  # in float32: these sums leave the range of float16
            grouped = tokens.float().unflatten(1, product.shape[:2])
            product += torch.bmm(grouped.permute(1, 2, 0), grouped.transpose(0, 1))


def _cosines(product: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Of inner products of queries and keys with each other ``(2C, 2C)`` to cosines between the two ``(C, C)``."""
    dim = len(product) // 2
    norms = product.diagonal().clamp(min=eps**2).sqrt()
    return product[:dim, dim:] / norms[:dim, None] / norms[dim:]
