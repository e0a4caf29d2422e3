"""Base encoders: the Lite Transformer block (long-short range attention, ICLR 2020) and the block of CDDFuse's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.kernels import convolve
from spinefuse_ext.networks.restormer import (
    ChannelAttention,
    GatedFeedForward,
    PreNormBlock,
    channels_last,
    check_heads,
)
from spinefuse_ext.networks.strips import is_exporting
from spinefuse_ext.validation import ConfigError, check_number, check_spatial_dims

POOL_SIZE = 8
KERNEL_SIZE = {2: 7, 3: 5}


class PooledAttention(nn.Module):
    """Every voxel attends to a pooled grid of at most ``pool_size`` cells per axis: ``(B, C, *S) -> (B, C, *S)``.

    Cost is linear in voxels. The grid's cells grow with the image; a small image is not pooled at all.
    """

    def __init__(self, spatial_dims: int, dim: int, num_heads: int, pool_size: int) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        convolution = Conv[Conv.CONV, spatial_dims]
        self.spatial_dims, self.num_heads, self.pool_size = spatial_dims, num_heads, pool_size
        self.query = convolution(dim, dim, 1)
        self.key_value = convolution(dim, 2 * dim, 1)
        self.project_out = convolution(dim, dim, 1)

    def cell(self, x: torch.Tensor) -> list[int]:
        """Voxels of one cell along each axis of ``x`` ``(B, C, *S)``."""
        return [(size + self.pool_size - 1) // self.pool_size for size in x.shape[2:]]

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell_means(x, self.cell(x))

    def cell_means(self, x: torch.Tensor, cell: list[int]) -> torch.Tensor:
        """Means of ``x`` over cells, the last ones of an axis perhaps smaller: ``(B, C, *S) -> (B, C, *cells)``."""
        if self.spatial_dims == 2:
            return F.avg_pool2d(x, cell, cell, ceil_mode=True, count_include_pad=False)
        return F.avg_pool3d(x, cell, cell, ceil_mode=True, count_include_pad=False)

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, *S) -> (B, heads, voxels, C / heads)``."""
        return x.reshape(x.shape[0], self.num_heads, x.shape[1] // self.num_heads, -1).transpose(2, 3)

    def keys_and_values(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the grid ``(B, C, *cells)``, each ``(B, heads, cells, C / heads)``."""
        key, value = self.key_value(channels_last(pooled)).chunk(2, dim=1)
        return self._tokens(key), self._tokens(value)

    def attend(
        self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor, filled: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What each voxel of ``x`` ``(B, C, *S)`` finds in the grid, of which ``filled`` ``(1, cells)``; same shape."""
        attended = F.scaled_dot_product_attention(self._tokens(self.query(x)), key, value, filled)
        return self.project_out(attended.transpose(2, 3).reshape(x.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            exported = is_exporting()
            if exported:
                return self._any_size(x)
        key, value = self.keys_and_values(self._pool(x))
        return self.attend(x, key, value)

    def _any_size(self, x: torch.Tensor) -> torch.Tensor:
        """``self(x)`` for a graph that is to hold for other sizes than that of ``x``: pooling has no size in it.

        The grid always has ``pool_size`` cells per axis; those that a smaller image does not fill are masked.
        """
        pooled, filled = x, x.new_ones((), dtype=torch.bool)
        for size, cell in zip(x.shape[2:], self.cell(x), strict=True):
            row = torch.arange(size, device=x.device) // cell
            member = (row.unsqueeze(1) == torch.arange(self.pool_size, device=x.device)).to(x.dtype)  # (size, cells)
            voxels = member.sum(0)
            pooled = torch.tensordot(pooled, member / voxels.clamp(min=1), dims=([2], [0]))  # this axis goes last
            filled = filled.unsqueeze(-1) & (voxels > 0)
        key, value = self.keys_and_values(pooled)
        return self.attend(x, key, value, filled.reshape(1, -1))


class GatedConvolution(nn.Sequential):
    """Gated linear unit, depth-wise convolution, gate from the mean of each channel: ``(B, C, *S) -> (B, C, *S)``."""

    def __init__(self, spatial_dims: int, dim: int, kernel_size: int) -> None:
        convolution = Conv[Conv.CONV, spatial_dims]
        super().__init__(
            convolution(dim, 2 * dim, 1),
            nn.GLU(dim=1),
            convolution(dim, dim, kernel_size, padding="same", groups=dim),
            ChannelSELayer(spatial_dims, dim),
            convolution(dim, dim, 1),
        )


class LongShortRangeMixing(nn.Module):
    """Half of the channels to the long-range branch, half to the short-range one: ``(B, C, *S) -> (B, C, *S)``."""

    def __init__(self, long_range: nn.Module, short_range: nn.Module) -> None:
        super().__init__()
        self.long_range, self.short_range = long_range, short_range  # each maps C/2 -> C/2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        far, near = x.chunk(2, dim=1)
        return torch.cat((self.long_range(far), self.short_range(near)), dim=1)


class FlatFeedForward(nn.Sequential):
    """Two layers of the same width with a GELU between them: ``(B, C, *S) -> (B, C, *S)``."""

    def __init__(self, spatial_dims: int, dim: int) -> None:
        convolution = Conv[Conv.CONV, spatial_dims]
        super().__init__(convolution(dim, dim, 1), nn.GELU(), convolution(dim, dim, 1))


class LiteTransformerBlock(PreNormBlock):
    """Long-short range attention and a flattened feed-forward: ``(B, dim, *S) -> (B, dim, *S)``, any size, 2-D or 3-D.

    Half of the channels attend over the whole (pooled) image, the other half are convolved; the feed-forward keeps
    the width instead of widening it, so that the parameters go to the mixing (arXiv:2004.11886).

    Args:
        spatial_dims: 2 or 3.
        dim: channels; even.
        num_heads: heads of the attention branch; divides ``dim / 2``.
        pool_size: cells per axis that are attended to, at most; default 8.
        kernel_size: odd width of the depth-wise convolution in voxels; default 7 in 2-D, 5 in 3-D.
    """

    def __init__(
        self,
        spatial_dims: int,
        dim: int,
        num_heads: int,
        *,
        pool_size: int | None = None,
        kernel_size: int | None = None,
    ) -> None:
        check_spatial_dims(spatial_dims)
        check_even(dim)
        for setting, value in (("pool_size", pool_size), ("kernel_size", kernel_size)):
            if value is not None:
                check_number(setting, value, least=1, whole=True)
        half = dim // 2
        attention = PooledAttention(spatial_dims, half, num_heads, pool_size or POOL_SIZE)
        local = GatedConvolution(spatial_dims, half, kernel_size or KERNEL_SIZE[spatial_dims])
        mixing = LongShortRangeMixing(attention, local)
        super().__init__(dim, mixing=mixing, feed_forward=FlatFeedForward(spatial_dims, dim))


class DenseChannelAttention(ChannelAttention):
    """Channel attention behind a dense 3x3 convolution of the projected channels: ``(B, C, *S) -> (B, C, *S)``.

    Nothing stands between projection and convolution, so both are run as the one convolution that they amount to.
    """

    if TYPE_CHECKING:
        qkv: Any
        qkv_dwconv: Any

    def __init__(self, spatial_dims: int, dim: int, num_heads: int) -> None:
        super().__init__(spatial_dims, dim, num_heads)
        self.qkv_dwconv = Convolution(spatial_dims, 3 * dim, 3 * dim, bias=False, conv_only=True)

    def merged(self) -> torch.Tensor:
        """The weight of that one convolution: ``(3 dim, dim, 3, ...)``."""
        project, dense = self.qkv.conv.weight, self.qkv_dwconv.conv.weight
        return torch.tensordot(dense, project.flatten(1), dims=([1], [0])).movedim(-1, 1)

    def _mix(self, x: torch.Tensor) -> torch.Tensor:
        return convolve(x, self.merged())


class DenseRestormerBlock(PreNormBlock):
    """The base block of CDDFuse's code (CVPR 2023), for its weights and goldens: ``(B, dim, *S) -> (B, dim, *S)``.

    A Restormer block whose queries, keys and values come from a dense 3x3 convolution, with a feed-forward of
    expansion 1 whose 3x3 convolution sees channels in pairs.
    """

    def __init__(self, spatial_dims: int, dim: int, num_heads: int) -> None:
        check_spatial_dims(spatial_dims)
        attention = DenseChannelAttention(spatial_dims, dim, num_heads)
        feed_forward = GatedFeedForward(spatial_dims, dim, 1.0, False)
        feed_forward.dwconv = Convolution(spatial_dims, 2 * dim, 2 * dim, groups=dim, bias=False, conv_only=True)
        super().__init__(dim, mixing=attention, feed_forward=feed_forward)


def check_even(dim: int) -> None:
    """Raise ``ConfigError`` unless ``dim`` splits into two equal halves."""
    if check_number("dim", dim, least=2, whole=True) % 2:
        raise ConfigError(f"Expected an even number of channels that splits in half, got {dim}.")
