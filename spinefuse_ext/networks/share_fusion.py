"""What networks have in common that predict the share of CT and MR at each scale, and cannot invent anything."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.classical import check_pair
from spinefuse_ext.networks.pyramid import collapsed, details, gaussian_pyramid
from spinefuse_ext.networks.restormer import at_least_float32
from spinefuse_ext.validation import check_number, check_spatial_dims

#: Details are about so much fainter than images; the network sees them enlarged by it.
DETAIL_GAIN = 4.0


class GuidanceLevel(nn.Module):
    """What is seen at one scale ``(B, in_channels, *S)`` to features ``(B, channels, *S)`` and what speaks for CT.

    The latter is the logit ``(B, 1, *S)`` of the share of CT; that of MR is the rest.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.first = convolution(in_channels, channels, 3, padding=1)
        self.second = convolution(channels, channels, 3, padding=1)
        self.share = convolution(channels, 1, 1)
        nn.init.normal_(self.share.weight, std=0.05)  # both have about a half at first
        nn.init.zeros_(self.share.bias)

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = F.leaky_relu(self.first(seen), 0.1)
        features = F.leaky_relu(self.second(features), 0.1)
        return features, at_least_float32(self.share(features))


class ShareFusionNet(nn.Module):
    """CT and MR ``(B, 2, *S)`` in [0, 1] to a blend ``(B, 1, *S)`` in [0, 1] of their Laplacian pyramids.

    A subclass says in ``_shares`` what share CT has at each voxel of each scale; MR has the rest. With given shares
    the blend is linear in the sources. It is then held between the darker and the brighter of both at each voxel: two
    equal sources give themselves back, air stays black, and no edge overshoots.

    Args:
        spatial_dims: 2 or 3.
        levels: scales of detail, at least 1; the coarsest image is ``2 ** levels`` times smaller.
        channels: features of each scale.
        coarsest: channels that are seen at the coarsest scale.

    Raises:
        ConfigError: fewer than one level or channel.
    """

    def __init__(self, spatial_dims: int, levels: int, channels: int, coarsest: int) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        self.levels = check_number("levels", levels, least=1, whole=True)
        channels = check_number("channels", channels, least=1, whole=True)
        self.detail_gain = DETAIL_GAIN
        sees = [coarsest] + [4 + channels] * levels
        self.guidance = nn.ModuleList(GuidanceLevel(spatial_dims, number, channels) for number in sees)

    def shares(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The share of CT at each scale, fine to coarse: ``levels + 1`` maps ``(B, 1, *S / 2 ** level)`` in (0, 1)."""
        images = gaussian_pyramid(x, self.levels)
        return self._shares(images, details(images))

    def blend(self, x: torch.Tensor, shares: list[torch.Tensor]) -> torch.Tensor:
        """The pair ``(B, 2, *S)`` blended by the shares of CT, not yet held between both: ``(B, 1, *S)``."""
        return blended(details(gaussian_pyramid(x, self.levels)), shares)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        x = at_least_float32(x)
        images = gaussian_pyramid(x, self.levels)
        parts = details(images)
        fused = blended(parts, self._shares(images, parts))
        return torch.minimum(torch.maximum(fused, x.amin(1, keepdim=True)), x.amax(1, keepdim=True))

    def _shares(self, images: list[torch.Tensor], parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """The shares of CT, fine to coarse, from the Gaussian and the Laplacian pyramid of a pair."""
        raise NotImplementedError


def blended(parts: list[torch.Tensor], shares: list[torch.Tensor]) -> torch.Tensor:
    """The image of these details of a pair ``(B, 2, *S)`` and shares of CT ``(B, 1, *S)``, both fine to coarse."""
    merged: list[torch.Tensor] = []
    for part, share in zip(parts, shares):  # noqa: B905 (TorchScript knows no strict)
        merged.append(part[:, 1:] + share * (part[:, :1] - part[:, 1:]))
    return collapsed(merged)
