"""Classical fusion rules behind the contract of the networks: a pair in, its fusion out, nothing to train."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Pool
from torch import nn
from torch.nn import functional as F

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
        self.spatial_dims, self.levels = spatial_dims, check_number("levels", levels, least=1, whole=True)
        self.enlarge_mode = "bilinear" if spatial_dims == 2 else "trilinear"
        smooth = Pool[Pool.AVG, spatial_dims]  # two taps of 1/2 each; three in a row are 1 3 3 1 over 8
        self.smaller = nn.Sequential(smooth(2, 1), smooth(2, 1), smooth(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        details: list[torch.Tensor] = []
        for _ in range(self.levels):
            coarse = self._reduce(x)
            details.append(stronger(x - self._expand(coarse, x)))
            x = coarse
        fused = x.mean(dim=1, keepdim=True)
        for level in range(self.levels):
            detail = details[self.levels - 1 - level]
            fused = detail + self._expand(fused, detail)
        return fused.clamp(0.0, 1.0)

    def _reduce(self, x: torch.Tensor) -> torch.Tensor:
        """Smoothed and every axis halved, odd sizes rounded up."""
        padding: list[int] = []
        for axis in range(self.spatial_dims):
            padding += [1, 1 + x.shape[-1 - axis] % 2]
        return self.smaller(F.pad(x, padding, mode="replicate"))

    def _expand(self, coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Every axis doubled, then cut to the size of ``like``."""
        twice = F.interpolate(coarse, scale_factor=2.0, mode=self.enlarge_mode, align_corners=False)
        for axis in range(2, 2 + self.spatial_dims):
            twice = twice.narrow(axis, 0, like.shape[axis])
        return twice
