"""The pair of Min-Max Similarity: two segmentation networks, with heads that make features of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Pool
from torch import nn

from spinefuse_ext.enums import SubNetwork
from spinefuse_ext.networks.dual_seg_net import DualSegNet
from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import check_number, check_spatial_dims

_PROJECTOR, _CLASSIFIER = (8, 16), (8, 16, 32)  # widths of the convolutions; each is followed by a halving


def _feature_head(spatial_dims: int, in_channels: int, channels: Sequence[int]) -> nn.Sequential:
    """For each width a 3-wide convolution, batch norm, ReLU and halving, then a 1-wide convolution."""
    head = nn.Sequential()
    for narrow, wide in pairwise((in_channels, *channels)):
        head.append(Convolution(spatial_dims, narrow, wide, adn_ordering="NA", act="RELU", norm="BATCH"))
        head.append(Pool[Pool.MAX, spatial_dims](2))
    head.append(Convolution(spatial_dims, channels[-1], channels[-1], kernel_size=1, conv_only=True))
    return head


class MinMaxSimilarityNet(nn.Module):
    """Two networks with projectors and classifiers (Min-Max Similarity, Lou et al., IEEE TMI 2023).

    In training a dictionary of ``logits`` ``(2, B, K, *S)`` and of features of these logits: ``projection``
    ``(2, B, 16, *S / 4)`` and ``classification`` ``(2, B, 32, *S / 8)``. In evaluation the probabilities
    ``(B, K, *S)`` of :class:`DualSegNet`.

    Departures from the published code (two Res2Net-101 U-Nets of one logit, 2-D): any two networks, K logits, 2-D or
    3-D; the projectors see the labelled images too, and the classifiers the unlabelled ones, so that one forward serves
    both streams (their batch norm then sees both); evaluation averages the two networks instead of scoring each.

    Args:
        unet: first sub-network, maps ``(B, C, *S)`` to logits ``(B, K, *S)``.
        vnet: second sub-network.
        num_classes: K.
        spatial_dims: 2 or 3.
        output: whose probability evaluation returns: ``mean`` of both, ``unet`` or ``vnet``.
        train_heads: whether the heads learn. False is the paper: they keep their random initial weights.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.
    """

    def __init__(
        self,
        unet: nn.Module,
        vnet: nn.Module,
        num_classes: int,
        spatial_dims: int = 2,
        *,
        output: str = SubNetwork.MEAN,
        train_heads: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_number("num_classes", num_classes, least=2, whole=True)
        self.pair = DualSegNet(unet, vnet, output)
        self.output = self.pair.output
        self.projectors = nn.ModuleList(_feature_head(spatial_dims, num_classes, _PROJECTOR) for _ in range(2))
        self.classifiers = nn.ModuleList(_feature_head(spatial_dims, num_classes, _CLASSIFIER) for _ in range(2))
        self.projectors.requires_grad_(train_heads)
        self.classifiers.requires_grad_(train_heads)
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Image ``(B, C, *S)`` -> logits and features in training, probabilities ``(B, K, *S)`` in evaluation."""
        logits = self.pair(x)
        if not self.training:
            return logits
        return {
            "logits": logits,
            "projection": torch.stack((self.projectors[0](logits[0]), self.projectors[1](logits[1]))),
            "classification": torch.stack((self.classifiers[0](logits[0]), self.classifiers[1](logits[1]))),
        }

    def each(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> probabilities ``(B, 2 K, *S)`` of both sub-networks, as :meth:`DualSegNet.each`."""
        return self.pair.each(x)
