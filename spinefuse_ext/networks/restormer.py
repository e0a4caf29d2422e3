"""Restormer blocks (Zamir et al., CVPR 2022, arXiv:2111.09881): attention between channels, at full resolution."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks.cablock import CABlock, FeedForward
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.fused import add_convolution, gelu_of_convolution
from spinefuse_ext.networks.strips import Strip, StripFunction, each_item, eager_on_cpu, in_strips, reach, strips
from spinefuse_ext.validation import ConfigError, check_spatial_dims


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return ``x``, half precision lifted to float32; for norms, exponentials and correlations under autocast."""
    return x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` ``(B, C, *S)`` with its channels last in memory: fastest on CPU, and every block here keeps it."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


class _Gram(torch.autograd.Function):
    """Backward in one product; autograd, which takes both factors for different ones, needs two and their sum."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(tokens)
        # the batched product of bfloat16 with a transposed factor is ten times slower on CPU
        return torch.stack([sample.t() @ sample for sample in tokens.unbind(0)])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (tokens,) = ctx.saved_tensors
        return tokens @ (grad + grad.transpose(1, 2)).to(tokens.dtype)


def gram(tokens: torch.Tensor) -> torch.Tensor:
    """Return the inner products of the channels over all voxels: ``(B, voxels, C) -> (B, C, C)``."""
    if torch.jit.is_scripting() or torch.compiler.is_compiling():  # type: ignore[attr-defined]
        return tokens.transpose(1, 2) @ tokens
    return _Gram.apply(tokens)  # type: ignore[no-untyped-call]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each voxel, with weight and bias: ``(B, C, *S) -> (B, C, *S)``."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        channels_last = input.movedim(1, -1)
        normed = F.layer_norm(channels_last, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.movedim(-1, 1)


class ChannelAttention(CABlock):
    """MONAI's ``CABlock``, same parameters and function, without einops, scriptable: ``(B, C, *S) -> (B, C, *S)``.

    Queries and keys are normalised over all voxels in float32; a query or key that is zero everywhere attends evenly.
    """

    def __init__(self, spatial_dims: int, dim: int, num_heads: int, bias: bool = False) -> None:
        check_heads(dim, num_heads)
        super().__init__(spatial_dims, dim, num_heads, bias, flash_attention=False)
        self.eps = 1e-6
        del self._attention_fn  # a bound method, which neither scripts nor copies

    def _mix(self, x: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values, one after the other in the channels: ``(B, C, *S) -> (B, 3C, *S)``."""
        return self.qkv_dwconv(self.qkv(x))

    def _weights(self, tokens: torch.Tensor) -> torch.Tensor:
        """Softmax of the cosines of queries and keys: ``(B, voxels, 2C) -> (B, heads, C / heads, C / heads)``.

        One product of the tokens with themselves holds the cosines' numerators and, on its diagonal, the squared norms.
        """
        if tokens.dtype == torch.float16:  # sums of squares over an image leave the range of float16
            tokens = F.normalize(tokens.float(), dim=1, eps=self.eps).half()
        product = at_least_float32(gram(tokens))
        norm = product.diagonal(dim1=1, dim2=2).clamp(min=self.eps**2).sqrt()
        cosines = product / (norm.unsqueeze(1) * norm.unsqueeze(2))
        dim = tokens.shape[2] // 2
        return self._attend(cosines[:, :dim, dim:])

    def _attend(self, cosines: torch.Tensor) -> torch.Tensor:
        """Softmax within each head: ``(B, C, C) -> (B, heads, C / heads, C / heads)``."""
        per_head = cosines.shape[1] // self.num_heads
        cosines = cosines.reshape(-1, self.num_heads, per_head, self.num_heads, per_head)
        return (cosines.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2) * self.temperature).softmax(dim=-1)

    def _matrix(self, weights: torch.Tensor) -> torch.Tensor:
        """Attention and output projection, of each voxel's values, as one matrix: ``(B, C, C)``."""
        weight = self.project_out.conv.weight  # type: ignore[union-attr]
        per_head = weight.reshape(-1, self.num_heads, weights.shape[-1]).transpose(0, 1)  # type: ignore[operator]
        return (per_head @ weights.to(per_head.dtype)).transpose(1, 2).flatten(2)

    def _project(self, value: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The product of each voxel with that matrix: ``(B, voxels, C)`` kept."""
        out = value @ self._matrix(weights).transpose(1, 2).to(value.dtype)
        bias = self.project_out.conv.bias  # type: ignore[union-attr]
        return out if bias is None else out + bias.to(out.dtype)  # type: ignore[operator]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self._mix(x).movedim(1, -1)
        dim = x.shape[1]
        queries_keys, value = mixed.flatten(1, -2).split([2 * dim, dim], dim=-1)
        out = self._project(value, self._weights(queries_keys))
        return out.unflatten(1, x.shape[2:]).movedim(-1, 1)

    def add_in_strips(self, x: torch.Tensor, norm: nn.Module) -> StripFunction:
        """What makes the rows of ``x + self(norm(x))`` of one image ``(1, C, *S)`` that a strip takes.

        Inner products and squared norms are sums over the voxels, so each strip adds its own.
        """
        dim, values = x.shape[1], torch.empty_like(x)
        product, squares = at_least_float32(x.new_zeros(dim, dim)), at_least_float32(x.new_zeros(2 * dim))
        for strip in strips(x, reach(self)):
            mixed = strip.core(self._mix(norm(strip.take(x))))
            strip.rows(values).copy_(mixed[:, 2 * dim :])
            add_products(mixed[0, : 2 * dim].flatten(1).t(), product, squares)
        norms = squares.clamp(min=self.eps**2).sqrt()
        weights = self._attend((product / norms[:dim, None] / norms[dim:]).unsqueeze(0))
        matrix = self._matrix(weights).reshape(dim, dim, *[1] * (x.ndim - 2))

        def add(strip: Strip) -> torch.Tensor:
            y = strip.take(x).clone()
            add_convolution(y, strip.take(values), matrix, self.project_out.conv.bias)  # type: ignore[union-attr, arg-type]
            return y

        return add


def add_products(tokens: torch.Tensor, product: torch.Tensor, squares: torch.Tensor) -> None:
    """Add to ``product`` ``(C, C)`` and ``squares`` ``(2C,)`` those of queries and keys ``(voxels, 2C)``, used up."""
    dim = len(product)
    if tokens.dtype == torch.bfloat16:  # where the squares alone would take longer than all products
        both = tokens.t() @ tokens
        product += both[:dim, dim:]
        squares += both.diagonal()
        return
    with torch.autocast("cpu", enabled=False):
        tokens = tokens.float() if tokens.dtype == torch.float16 else tokens  # these sums leave its range
        product += tokens[:, :dim].t() @ tokens[:, dim:]
        squares += tokens.square_().sum(0)


class GatedFeedForward(FeedForward):
    """MONAI's ``FeedForward`` (same parameters, same function) that scripts: ``(B, C, *S) -> (B, C, *S)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            halves = eager_on_cpu(x)
            if halves:
                return self.project_out(self.hidden(x))
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer is given: ``(B, C, *S) -> (B, hidden, *S)``."""
        gate, value = self._half(x, 0), self._half(x, 1)
        return gate * value if torch.is_grad_enabled() else gate.mul_(value)

    def add_output(self, total: torch.Tensor, hidden: torch.Tensor) -> None:
        """Add to ``total`` ``(B, C, *S)``, in place, what the last layer makes of ``hidden``."""
        layer = self.project_out.conv
        add_convolution(total, hidden, layer.weight, layer.bias)  # type: ignore[union-attr, arg-type]

    def _half(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """The gate (0), already through its GELU, or the value (1), in memory of its own: faster than half of both."""
        run: Any = F.conv2d if x.ndim == 4 else F.conv3d
        layers: list[Any] = [self.project_in.conv, self.dwconv.conv]
        parts = [(layer.weight, layer.bias) for layer in layers]
        parts = [(weight.chunk(2)[index], None if bias is None else bias.chunk(2)[index]) for weight, bias in parts]
        (wide, wide_bias), (local, local_bias) = parts
        x, groups = run(x, wide, wide_bias), layers[1].groups // 2
        if index == 0:
            return gelu_of_convolution(x, local, local_bias, groups)
        return run(x, local, local_bias, padding=local.shape[2] // 2, groups=groups)


class PreNormBlock(nn.Module):
    """Two normed residual steps, mixing then feed-forward: ``(B, dim, *S) -> (B, dim, *S)``; the children are given.

    ``mixing.add_in_strips(x, norm)`` is the first pass over a large image; the feed-forward is a local function, in two
    parts: ``hidden``, and ``add_output``, which works on each voxel alone.
    """

    def __init__(self, dim: int, mixing: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.mixing_norm = ChannelNorm(dim)
        self.mixing = mixing
        self.feed_forward_norm = ChannelNorm(dim)
        self.feed_forward = feed_forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            cut = in_strips(x)
            if cut:
                return each_item(self._in_strips, channels_last(x))
        x = x + self.mixing(self.mixing_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def _in_strips(self, x: torch.Tensor) -> torch.Tensor:
        """The same function of one image, in two passes: what mixing asks of all voxels, then the rest."""
        feed, out = self.feed_forward, torch.empty_like(x)
        mixed = self.mixing.add_in_strips(x, self.mixing_norm)  # type: ignore[operator]
        for strip in strips(x, reach(feed)):
            y = mixed(strip)
            hidden = feed.hidden(self.feed_forward_norm(y))  # type: ignore[operator]
            rows = strip.rows(out).copy_(strip.core(y))
            feed.add_output(rows, strip.core(hidden))  # type: ignore[operator]
        return out


class RestormerBlock(PreNormBlock):
    """Channel attention and gated depth-wise feed-forward: ``(B, dim, *S) -> (B, dim, *S)``, any size, 2-D or 3-D.

    Args:
        spatial_dims: 2 or 3.
        dim: channels.
        num_heads: attention heads; divides ``dim``.
        expansion: hidden channels of the feed-forward per channel of the input.
        bias: whether the convolutions carry a bias.
    """

    def __init__(
        self, spatial_dims: int, dim: int, num_heads: int, *, expansion: float = 2.0, bias: bool = False
    ) -> None:
        check_spatial_dims(spatial_dims)
        super().__init__(
            dim,
            mixing=ChannelAttention(spatial_dims, dim, num_heads, bias),
            feed_forward=GatedFeedForward(spatial_dims, dim, expansion, bias),
        )


def check_heads(dim: int, num_heads: int) -> None:
    """Raise ``ConfigError`` unless ``num_heads`` divides ``dim``."""
    if num_heads < 1 or dim % num_heads:
        raise ConfigError(
            f"Expected channels divisible by the attention heads, got {dim} channels and {num_heads} heads."
        )
