"""Restormer blocks (Zamir et al., CVPR 2022, arXiv:2111.09881): attention between channels, at full resolution."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from monai.networks.blocks.cablock import CABlock, FeedForward
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.fused import add_convolution, gelu_of_convolution
from spinefuse_ext.networks.strips import LocalFunction, can_stream, eager_on_cpu, in_strips, reach, strips
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

    def can_stream(self) -> bool:
        """``update_in_strips`` does what ``forward`` does."""
        return True

    def _mix_apart(self, order: torch.Tensor) -> tuple[LocalFunction, LocalFunction]:
        """Two functions for queries and keys, in ``order`` ``(2C,)`` of their channels, and for values."""
        dim = len(order) // 2
        of_values = torch.arange(2 * dim, 3 * dim, device=order.device)
        return partial(self._mix_some, order), partial(self._mix_some, of_values)

    def _mix_some(self, channels: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        run: Any = F.conv2d if x.ndim == 4 else F.conv3d
        layers: list[Any] = [self.qkv.conv, self.qkv_dwconv.conv]
        (wide, wide_bias), (local, local_bias) = (
            (layer.weight[channels], None if layer.bias is None else layer.bias[channels]) for layer in layers
        )
        return run(run(x, wide, wide_bias), local, local_bias, padding=local.shape[2] // 2, groups=len(channels))

    def update_in_strips(self, x: torch.Tensor, norm: nn.Module) -> Iterator[int]:
        """Add ``self(norm(x))`` to one image ``x`` ``(1, C, *S)`` in place; yields how many of its rows are done.

        Inner products are sums over the voxels, so each strip adds its own; values wait for the last strip. Only
        channels of one head meet, so queries and keys of a head are put side by side.
        """
        dim = x.shape[1]
        groups = 1 if x.dtype == torch.bfloat16 else self.num_heads  # of bfloat16 the whole product is faster
        order = torch.arange(2 * dim, device=x.device).reshape(2, groups, -1).transpose(0, 1).flatten()
        queries_keys_of, values_of = self._mix_apart(order)
        product = at_least_float32(x.new_zeros(groups, 2 * dim // groups, 2 * dim // groups))
        values = []
        for strip in strips(x, reach(self)):
            normed = norm(strip.take(x))
            values.append((strip, strip.core(values_of(normed))))
            add_products(strip.core(queries_keys_of(normed))[0].flatten(1).t(), product)
        cosines = torch.block_diag(*map(_cosines, product))
        matrix = self._matrix(self._attend(cosines.unsqueeze(0))).reshape(dim, dim, *[1] * (x.ndim - 2))
        for strip, value in values:
            add_convolution(strip.rows(x), value, matrix, self.project_out.conv.bias)  # type: ignore[union-attr, arg-type]
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


class GatedFeedForward(FeedForward):
    """MONAI's ``FeedForward`` (same parameters, same function) that scripts: ``(B, C, *S) -> (B, C, *S)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            halves = eager_on_cpu(x)
            if halves:
                return self.project_out(self.hidden(x))
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)

    def can_stream(self) -> bool:
        """``add_output`` of ``hidden`` does what ``forward`` does."""
        return True

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

    Children that keep the shape will do. Where both have a method ``can_stream`` that returns True, large images go
    through them in strips: ``mixing.update_in_strips(x, norm)`` collects what mixing asks of all voxels, then adds it
    strip by strip; the feed-forward is a local function, in two parts: ``hidden``, and ``add_output``, which works on
    each voxel alone.
    """

    def __init__(self, dim: int, mixing: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.mixing_norm = ChannelNorm(dim)
        self.mixing = mixing
        self.feed_forward_norm = ChannelNorm(dim)
        self.feed_forward = feed_forward

    def forward(self, x: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Mix, then feed forward; the result of a large image takes the memory of ``x`` if it may ``overwrite`` it."""
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            cut = in_strips(x) and can_stream(self.mixing, self.feed_forward)
            if cut:
                return self._in_strips(x if overwrite else x.clone())
        x = x + self.mixing(self.mixing_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def _in_strips(self, x: torch.Tensor) -> torch.Tensor:
        """``self(x)`` in the memory of ``x``."""
        plain = channels_last(x.as_subclass(torch.Tensor))  # MONAI's tensors with meta data are slow to cut
        for item in plain.split(1):
            self._update(item)
        return plain.as_subclass(type(x))

    def _update(self, x: torch.Tensor) -> None:
        feed: Any = self.feed_forward
        halo, mixed_rows = reach(feed), 0
        waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        mixing = self.mixing.update_in_strips(x, self.mixing_norm)  # type: ignore[operator]
        for strip in strips(x, halo):
            while mixed_rows < min(strip.last + halo, x.shape[2]):
                mixed_rows = next(mixing)
            hidden = strip.core(feed.hidden(self.feed_forward_norm(strip.take(x))))
            if waiting:  # the strip before, whose last rows were still to be seen as they were
                feed.add_output(*waiting.pop())
            waiting.append((strip.rows(x), hidden))
        feed.add_output(*waiting.pop())


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
