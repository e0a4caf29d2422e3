"""Restormer blocks (Zamir et al., CVPR 2022, arXiv:2111.09881): attention between channels, at full resolution."""

from __future__ import annotations

import torch
from monai.networks.blocks.cablock import CABlock, FeedForward
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.validation import ConfigError, check_spatial_dims


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return ``x``, half precision lifted to float32; for norms, exponentials and correlations under autocast."""
    return x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x


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

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, *S) -> (B, heads, C / heads, voxels)``."""
        return x.reshape(x.shape[0], self.num_heads, x.shape[1] // self.num_heads, -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        query = F.normalize(at_least_float32(self._heads(query)), dim=-1, eps=self.eps)
        key = F.normalize(at_least_float32(self._heads(key)), dim=-1, eps=self.eps)
        attention = ((query @ key.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        value = self._heads(value)
        return self.project_out((attention.to(value.dtype) @ value).reshape(x.shape))


class GatedFeedForward(FeedForward):
    """MONAI's ``FeedForward`` (same parameters, same function) that scripts: ``(B, C, *S) -> (B, C, *S)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class PreNormBlock(nn.Module):
    """Two normed residual steps, mixing then feed-forward: ``(B, dim, *S) -> (B, dim, *S)``; the children are given."""

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
