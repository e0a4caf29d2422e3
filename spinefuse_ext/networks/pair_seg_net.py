"""A pair of segmentation networks that is given CT and MR and sees channels made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.enums import SubNetwork
from spinefuse_ext.networks.dual_seg_net import DualSegNet
from spinefuse_ext.networks.pair_channels import PairChannels
from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import ConfigError


class PairSegNet(DualSegNet):
    """``DualSegNet`` of CT and MR ``(B, 2, *S)`` in [0, 1] that sees the channels that ``channels`` makes of them.

    With ``RandMissingd`` in its training one network serves a CT, an MR, or both. With a fusion network that learns
    (``PairChannels``) the loss of the segmentation goes through the fusion: then the training forward returns the
    logits and the ``fused`` image ``(1, B, 1, *S)``, which ``FusedImageHandler`` holds to a picture that one can read.

    Args:
        channels: from the pair to what both sub-networks see.
        unet, vnet, output, planes, weights: see :class:`~spinefuse_ext.networks.DualSegNet`.

    Raises:
        ConfigError: when the sub-networks take another number of channels.
    """

    def __init__(
        self,
        channels: PairChannels,
        unet: nn.Module,
        vnet: nn.Module,
        output: str = SubNetwork.MEAN,
        *,
        planes: str | Sequence[str] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__(unet, vnet, output, planes=planes)
        self.channels = channels
        for network in (unet, vnet):
            taken = next((weight.shape[1] for weight in network.parameters() if weight.ndim > 2), channels.out_channels)
            if taken != channels.out_channels:
                raise ConfigError(
                    f"The channels {', '.join(channels.names)} are {channels.out_channels}, but the network takes "
                    f"{taken}; set in_channels to {channels.out_channels}."
                )
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:  # type: ignore[override]
        """As ``DualSegNet``; in training with a fusion network that learns, ``logits`` and ``fused``."""
        seen, fused = self.channels.with_fused(x)
        result = super().forward(seen)
        return {Keys.LOGITS: result, Keys.FUSED: fused[None]} if self.training and fused is not None else result

    def each(self, x: torch.Tensor) -> torch.Tensor:
        """Pair ``(B, 2, *S)`` -> probabilities ``(B, 2 K, *S)`` of the two sub-networks."""
        return super().each(self.channels(x))

    def axial_input(self, x: torch.Tensor) -> torch.Tensor:
        """Pair ``(B, 2, *S)`` -> its channels."""
        return self.channels(x)
