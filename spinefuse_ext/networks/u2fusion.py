"""U2Fusion's densely connected network, the baseline that the paper compares with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import check_number, check_numbers, check_spatial_dims


class DenseLayer(nn.Module):
    """Convolve, activate, and put the new channels before the old: ``(B, C, *S) -> (B, growth + C, *S)``."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((nn.functional.leaky_relu(self.convolution(x), 0.2), x), dim=1)


class U2FusionNet(nn.Module):
    """CT and MR ``(B, 2, *S)`` in [0, 1] to their fusion ``(B, 1, *S)`` in [0, 1] (Xu et al., IEEE TPAMI 2022).

    Ten 3-wide convolutions without normalisation at full resolution; any size of at least 2 along each axis, as the
    border is mirrored. The defaults are the published network, 659,217 parameters in 2-D.

    Args:
        spatial_dims: 2 or 3.
        growth: channels of the first layer and of each dense layer.
        dense_layers: number of dense layers.
        head_channels: channels of the layers between the last dense layer and the output.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        growth: int = 44,
        dense_layers: int = 5,
        head_channels: Sequence[int] = (128, 64, 32),
        *,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_number("growth", growth, least=1, whole=True)
        check_number("dense_layers", dense_layers, least=0, whole=True)
        check_numbers("head_channels", head_channels, least=1, whole=True)
        self.embedding = nn.Sequential(_convolution(spatial_dims, 2, growth), nn.LeakyReLU(0.2))
        inputs = [growth * number for number in range(1, dense_layers + 1)]
        self.dense = nn.Sequential(*(DenseLayer(_convolution(spatial_dims, width, growth)) for width in inputs))
        widths = (growth * (dense_layers + 1), *head_channels)
        self.head = nn.Sequential()
        for narrow_from, narrow_to in pairwise(widths):
            self.head.extend([_convolution(spatial_dims, narrow_from, narrow_to), nn.LeakyReLU(0.2)])
        self.head.append(_convolution(spatial_dims, widths[-1], 1))
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != 2:
            raise ValueError(f"Expected a pair of 2 channels, CT and MR, got an image of shape {list(x.shape)}.")
        return torch.tanh(self.head(self.dense(self.embedding(x)))) / 2 + 0.5


def _convolution(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    layer: nn.Conv2d | nn.Conv3d = Conv[Conv.CONV, spatial_dims](
        in_channels, out_channels, 3, padding=1, padding_mode="reflect"
    )
    nn.init.trunc_normal_(layer.weight, std=0.05, a=-0.1, b=0.1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
