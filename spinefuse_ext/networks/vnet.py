"""The V-Net of the semi-supervised segmentation papers: 3-wide convolutions, batch norm, additive skips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Dropout
from monai.networks.layers.factories import Norm
from torch import nn

from spinefuse_ext.validation import (
    ConfigError,
    check_choice,
    check_number,
    check_numbers,
    check_part,
    check_spatial_dims,
)

_DEEPEST_STAGE = 3  # convolutions of a stage: 1, 2, 3, 3, ... from the finest level down


def _convolutions(spatial_dims: int, channels: int, count: int, first_channels: int, norm: str) -> nn.Sequential:
    """``count`` times convolution, norm, ReLU: ``(B, first_channels, *S) -> (B, channels, *S)``."""
    widths = [first_channels] + [channels] * count
    return nn.Sequential(
        *(
            Convolution(spatial_dims, before, after, kernel_size=3, adn_ordering="NA", act="RELU", norm=norm)
            for before, after in pairwise(widths)
        )
    )


def _rescale(spatial_dims: int, in_channels: int, out_channels: int, norm: str, *, up: bool) -> Convolution:
    """Halve (or double, ``up``) every side: ``(B, in, *S) -> (B, out, *S/2)``."""
    return Convolution(
        spatial_dims,
        in_channels,
        out_channels,
        strides=2,
        kernel_size=2,
        padding=0,
        output_padding=0,
        is_transposed=up,
        adn_ordering="NA",
        act="RELU",
        norm=norm,
    )


class VNet(nn.Module):
    """V-Net as in UA-MT (arXiv:1907.07034): ``(B, in, *S) -> (B, out, *S)`` logits, 2-D or 3-D.

    It differs from ``monai.networks.nets.VNet`` (Milletari et al., 2016): kernels of 3 instead of 5, no residual sum
    inside a stage, skips are added, not concatenated. In 3-D this is 9.4 instead of 45.6 million parameters.
    Every side of the input must be a multiple of ``2 ** (len(channels) - 1)``, 16 by default.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes, background included.
        channels: width of each level, finest first; at least two.
        dropout: probability of dropping a whole channel of the deepest and of the last feature, 0 to 1.
        norm: name of a MONAI norm, for example ``BATCH`` or ``INSTANCE``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 4,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.5,
        norm: str = "BATCH",
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_number("in_channels", in_channels, least=1, whole=True)
        check_number("out_channels", out_channels, least=1, whole=True)
        check_part("dropout", dropout)
        check_choice("norm", str(norm).upper(), Norm.names)
        if len(check_numbers("channels", channels, least=1, whole=True)) < 2:
            raise ConfigError(f"The setting channels is a list of at least two widths, got {list(channels)}.")
        self.factor = 2 ** (len(channels) - 1)
        depths = [min(level + 1, _DEEPEST_STAGE) for level in range(len(channels))]
        entries = [in_channels, *channels[1:]]  # what enters a stage: the image, then each halved feature

        def stages(widths: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(
                _convolutions(spatial_dims, width, depth, entry, norm)
                for width, depth, entry in zip(channels, depths, widths, strict=False)
            )

        levels = list(pairwise(channels))
        self.encoders = stages(entries)
        self.downs = nn.ModuleList(_rescale(spatial_dims, fine, coarse, norm, up=False) for fine, coarse in levels)
        self.ups = nn.ModuleList(_rescale(spatial_dims, coarse, fine, norm, up=True) for fine, coarse in levels[::-1])
        self.decoders = nn.ModuleList(list(stages(channels[:-1]))[::-1])
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Convolution(spatial_dims, channels[0], out_channels, kernel_size=1, conv_only=True)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, in, *S)`` -> logits ``(B, out, *S)``."""
        for size in x.shape[2:]:
            if size % self.factor != 0:
                raise ValueError(
                    f"Expected sides that are multiples of {self.factor}, got {x.shape[2:]}. Pad the image."
                )
        skips: list[torch.Tensor] = []
        for encoder, down in zip(self.encoders, self.downs):  # noqa: B905 (TorchScript)
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.dropout(self.encoders[-1](x))
        for up, decoder in zip(self.ups, self.decoders):  # noqa: B905 (TorchScript)
            x = decoder(up(x) + skips.pop())
        return self.head(self.dropout(x))


def _initialise(module: nn.Module) -> None:
    """Kaiming-normal weights and zero biases for every convolution (He et al., 2015)."""
    if isinstance(module, nn.modules.conv._ConvNd):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
