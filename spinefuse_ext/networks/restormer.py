"""Restormer blocks (Zamir et al., CVPR 2022, arXiv:2111.09881): attention between channels, at full resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.networks.blocks.cablock import CABlock, FeedForward
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.kernels import gated_convolution
from spinefuse_ext.validation import ConfigError, check_number, check_spatial_dims


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
    if torch.jit.is_scripting() or torch.compiler.is_compiling():
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

    if TYPE_CHECKING:
        project_out: Any

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
        return self.attend(cosines[:, :dim, dim:])

    def attend(self, cosines: torch.Tensor) -> torch.Tensor:
        """Softmax within each head: ``(B, C, C) -> (B, heads, C / heads, C / heads)``."""
        per_head = cosines.shape[1] // self.num_heads
        cosines = cosines.reshape(-1, self.num_heads, per_head, self.num_heads, per_head)
        return (cosines.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2) * self.temperature).softmax(dim=-1)

    def output_matrix(self, weights: torch.Tensor) -> torch.Tensor:
        """Attention and output projection, of each voxel's values, as one matrix: ``(B, C, C)``."""
        per_head = self.project_out.conv.weight.reshape(-1, self.num_heads, weights.shape[-1]).transpose(0, 1)
        return (per_head @ weights.to(per_head.dtype)).transpose(1, 2).flatten(2)

    def _project(self, value: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The product of each voxel with that matrix: ``(B, voxels, C)`` kept."""
        out = value @ self.output_matrix(weights).transpose(1, 2).to(value.dtype)
        bias = self.project_out.conv.bias
        return out if bias is None else out + bias.to(out.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self._mix(x).movedim(1, -1)
        dim = x.shape[1]
        queries_keys, value = mixed.flatten(1, -2).split([2 * dim, dim], dim=-1)
        out = self._project(value, self._weights(queries_keys))
        return out.unflatten(1, x.shape[2:]).movedim(-1, 1)


class GatedFeedForward(FeedForward):
    """MONAI's ``FeedForward`` (same parameters, same function) that scripts: ``(B, C, *S) -> (B, C, *S)``."""

    if TYPE_CHECKING:
        project_in: Any
        dwconv: Any

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide, local = self.project_in.conv, self.dwconv.conv
        return self.project_out(gated_convolution(x, wide.weight, wide.bias, local.weight, local.bias))


class PreNormBlock(nn.Module):
    """Two normed residual steps, mixing then feed-forward: ``(B, dim, *S) -> (B, dim, *S)``; the children are given.

    Args:
        dim: channels.
        mixing: keeps the shape.
        feed_forward: keeps the shape.
    """

    def __init__(self, dim: int, mixing: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.mixing_norm = ChannelNorm(dim)
        self.mixing = mixing
        self.feed_forward_norm = ChannelNorm(dim)
        self.feed_forward = feed_forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mixing(self.mixing_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


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
        check_number("expansion", expansion, above=0)
        super().__init__(
            dim,
            mixing=ChannelAttention(spatial_dims, dim, num_heads, bias),
            feed_forward=GatedFeedForward(spatial_dims, dim, expansion, bias),
        )


def check_heads(dim: int, num_heads: int) -> None:
    """Raise ``ConfigError`` unless ``num_heads`` divides ``dim``."""
    check_number("dim", dim, least=1, whole=True)
    if dim % check_number("num_heads", num_heads, least=1, whole=True):
        raise ConfigError(
            f"Expected channels divisible by the attention heads, got {dim} channels and {num_heads} heads."
        )
