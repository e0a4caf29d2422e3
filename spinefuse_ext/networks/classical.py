"""Classical fusion rules behind the contract of the networks: a pair in, its fusion out, nothing to train."""

from __future__ import annotations

import torch
from torch import nn

from spinefuse_ext.networks.pyramid import collapsed, details, gaussian_pyramid
from spinefuse_ext.validation import ConfigError, check_number, check_spatial_dims


def check_pair(x: torch.Tensor) -> None:
    """Raise ``ValueError`` unless ``x`` is a batch of pairs ``(B, 2, *S)``."""
    if x.shape[1] != 2:
        raise ValueError(f"Expected a pair of 2 channels, CT and MR, got an image of shape {list(x.shape)}.")


def stronger(pair: torch.Tensor) -> torch.Tensor:
    """Of two coefficients the one with the larger magnitude, CT where equal: ``(B, 2, *S) -> (B, 1, *S)``."""
    return torch.where(pair[:, :1].abs() >= pair[:, 1:].abs(), pair[:, :1], pair[:, 1:])


class MeanFusion(nn.Module):
    """The mean of CT and MR at every voxel: ``(B, 2, *S) -> (B, 1, *S)``, 2-D and 3-D."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        return x.mean(dim=1, keepdim=True)


class MaxFusion(nn.Module):
    """The brighter of CT and MR at every voxel: ``(B, 2, *S) -> (B, 1, *S)``, 2-D and 3-D."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        return x.amax(dim=1, keepdim=True)


class SingleModality(nn.Module):
    """One modality as it is, for reference: ``(B, 2, *S) -> (B, 1, *S)``, 2-D and 3-D. Nothing is fused.

    Args:
        channel: 0 for CT, 1 for MR.
    """

    #: So a slice without MR is not copied from the CT, see ``copy_without_mr``.
    fuses = False

    def __init__(self, channel: int) -> None:
        super().__init__()
        if channel not in (0, 1):
            raise ConfigError(f"Expected channel 0 (CT) or 1 (MR), got {channel}.")
        self.channel = channel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        return x[:, self.channel : self.channel + 1].clone()


class LaplacianPyramidFusion(nn.Module):
    """Pyramids of CT and MR merged level by level (Burt and Adelson, IEEE Trans. Commun. 1983).

    ``(B, 2, *S)`` in [0, 1] to ``(B, 1, *S)`` in [0, 1], any size. Of each detail coefficient the stronger one is kept,
    the coarsest level is averaged; what leaves [0, 1] is cut off. Each level smooths with the binomial filter 1 3 3 1
    and keeps every second voxel (the border is repeated); it is enlarged linearly, on the same voxel centres.

    Args:
        spatial_dims: 2 or 3.
        levels: of detail, at least 1; the coarsest level is ``2 ** levels`` times smaller.
    """

    def __init__(self, spatial_dims: int = 2, levels: int = 4) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        self.levels = check_number("levels", levels, least=1, whole=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        merged: list[torch.Tensor] = []
        for part in details(gaussian_pyramid(x, self.levels)):
            merged.append(stronger(part) if len(merged) < self.levels else part.mean(dim=1, keepdim=True))
        return collapsed(merged).clamp(0.0, 1.0)
