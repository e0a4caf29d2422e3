"""Detail encoders, which keep edges and texture at full resolution: a plain CNN, and CDDFuse's affine coupling."""

from __future__ import annotations

import torch
from monai.networks.blocks.convolutions import ResidualUnit
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.lite_transformer import check_even
from spinefuse_ext.networks.restormer import at_least_float32
from spinefuse_ext.validation import check_number, check_spatial_dims


class DetailEncoder(ResidualUnit):
    """``depth`` 3x3 convolutions around one skip, without norm or downsampling: ``(B, dim, *S) -> (B, dim, *S)``.

    Args:
        spatial_dims: 2 or 3.
        dim: channels.
        depth: number of convolutions; LeakyReLU stands between them and not after the last.
    """

    def __init__(self, spatial_dims: int, dim: int, depth: int = 3) -> None:
        check_spatial_dims(spatial_dims)
        check_number("dim", dim, least=1, whole=True)
        check_number("depth", depth, least=1, whole=True)
        super().__init__(
            spatial_dims,
            dim,
            dim,
            subunits=depth,
            act=("leakyrelu", {"negative_slope": 0.2, "inplace": True}),
            norm=None,
            last_conv_only=True,
        )


class Bottleneck(nn.Sequential):
    """Widen, depth-wise 3x3 with reflected borders, narrow: ``(B, C, *S) -> (B, C, *S)``, axes of 2 voxels or more."""

    def __init__(self, spatial_dims: int, dim: int) -> None:
        convolution, wide = Conv[Conv.CONV, spatial_dims], 2 * dim
        super().__init__(
            convolution(dim, wide, 1, bias=False),
            nn.ReLU6(inplace=True),
            convolution(wide, wide, 3, groups=wide, bias=False),
            nn.ReLU6(inplace=True),
            convolution(wide, dim, 1, bias=False),
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        # a border reflected before the image is widened is the border reflected after, of half as many channels
        x = F.pad(input, [1, 1] * (input.ndim - 2), mode="reflect")
        for layer in self:
            x = layer(x)
        return x


class AffineCoupling(nn.Module):
    """Shuffle, then each half of the channels moves the other (arXiv:1605.08803): ``(B, C, *S) -> (B, C, *S)``, C even.

    Args:
        shuffle: maps C -> C channels.
        offset: maps the first half to what is added to the second.
        log_scale: maps the moved second half to the logarithm of the first half's factor.
        shift: maps the moved second half to what is added to the first.
        exponent_limit: soft bound of the logarithm; ``None`` leaves it free, as CDDFuse's code does.
    """

    def __init__(
        self,
        shuffle: nn.Module,
        offset: nn.Module,
        log_scale: nn.Module,
        *,
        shift: nn.Module,
        exponent_limit: float | None = None,
    ) -> None:
        super().__init__()
        self.shuffle, self.offset, self.log_scale, self.shift = shuffle, offset, log_scale, shift
        self.exponent_limit = exponent_limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.shuffle(x).chunk(2, dim=1)
        second = second + self.offset(first)
        exponent = at_least_float32(self.log_scale(second))
        if self.exponent_limit is not None:
            exponent = self.exponent_limit * torch.tanh(exponent / self.exponent_limit)
        first = first * exponent.exp().to(first.dtype) + self.shift(second)
        return torch.cat((first, second), dim=1)


class CouplingDetailEncoder(nn.Sequential):
    """A chain of affine couplings: ``(B, dim, *S) -> (B, dim, *S)``, every axis 2 voxels or more.

    Args:
        spatial_dims: 2 or 3.
        dim: channels; even.
        depth: number of couplings.
        exponent_limit: see ``AffineCoupling``.
    """

    def __init__(self, spatial_dims: int, dim: int, depth: int = 3, exponent_limit: float | None = None) -> None:
        check_spatial_dims(spatial_dims)
        check_even(dim)
        check_number("depth", depth, least=1, whole=True)
        if exponent_limit is not None:
            check_number("exponent_limit", exponent_limit, above=0)
        super().__init__(*(_coupling(spatial_dims, dim, exponent_limit) for _ in range(depth)))


def _coupling(spatial_dims: int, dim: int, exponent_limit: float | None) -> AffineCoupling:
    offset, log_scale, shift = (Bottleneck(spatial_dims, dim // 2) for _ in range(3))
    shuffle = Conv[Conv.CONV, spatial_dims](dim, dim, 1)
    return AffineCoupling(shuffle, offset, log_scale, shift=shift, exponent_limit=exponent_limit)
