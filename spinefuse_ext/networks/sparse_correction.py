"""An output of the fusion network: the maximum of both scans, corrected where it pays."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.restormer import at_least_float32
from spinefuse_ext.validation import ConfigError

#: Corrections of the maximum up to this part of the range are none.
CORRECTION_THRESHOLD = 0.12
#: Part of that threshold in training: corrections a little below it still learn, so that they can pass it again.
TRAINED_SHARE = 2 / 3
#: The same while corrections are still small and learnt, softly thresholded.
SOFT_THRESHOLD = 0.01
#: Too little to be seen.
TONE_REACH = 0.01


class SparseCorrection(nn.Module):
    """Features ``(B, dim, *S)`` and a pair in [0, 1] to the pair's maximum, corrected where it pays: ``(B, 1, *S)``.

    Two things change the maximum. ``tone``, a small network of the two values at a voxel alone, moves its brightness by
    up to ``tone_reach`` of it, so that fewer different pairs of values become one grey level; air stays black. The
    correction, made of the features, is 0 unless it is larger than ``threshold`` (hard thresholding): most voxels
    copy the brighter modality, and only edges that one modality hides are redrawn. Both start at zero, so an untrained
    network gives the maximum rule.

    Hard thresholding teaches nothing below the threshold. So corrections are first trained while ``soft`` is set:
    softly thresholded at ``SOFT_THRESHOLD``, with ``LEAK`` as the gradient below it, and without ``tone``. Then they
    are trained with ``TRAINED_SHARE`` of the hard threshold.

    Args:
        head: features to the raw correction, its last layer a convolution.
        tone: the four images ``(B, 4, *S)`` of CT, MR, their maximum and minimum, in [-2, 2], to ``(B, 1, *S)``; its
            last layer is a convolution with bias.
        threshold: corrections up to it are none.
        tone_reach: how much brighter or darker the tone makes a voxel at most, as a part of its brightness.

    Attributes:
        soft: as above, at first True; evaluation mode ignores it.

    Raises:
        ConfigError: a negative threshold, or a reach that is not in [0, 1).
    """

    LEAK = 0.3

    def __init__(
        self,
        head: nn.Sequential,
        tone: nn.Sequential,
        threshold: float = CORRECTION_THRESHOLD,
        tone_reach: float = TONE_REACH,
    ) -> None:
        super().__init__()
        if not threshold >= 0:
            raise ConfigError(f"Expected a threshold of corrections of 0 or more, got {threshold}.")
        if not 0 <= tone_reach < 1:
            raise ConfigError(f"Expected a reach of the tone of 0 or more and less than 1, got {tone_reach}.")
        self.head, self.tone, self.threshold = head, tone, threshold
        self.soft_threshold, self.leak, self.soft = SOFT_THRESHOLD, self.LEAK, True
        self.trained_share = TRAINED_SHARE
        self.tone_reach = tone_reach
        for start in (
            head[-1].get_parameter("weight"),
            tone[-1].get_parameter("weight"),
            tone[-1].get_parameter("bias"),
        ):
            nn.init.zeros_(start)

    def forward(self, features: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        pair = at_least_float32(pair)
        raw = at_least_float32(self.head(features))
        brightest = pair.amax(1, keepdim=True)
        if self.soft and self.training:
            leak = self.leak * raw
            return (brightest + F.softshrink(raw, self.soft_threshold) + (leak - leak.detach())).clamp(0, 1)
        levels = torch.cat((pair, brightest, pair.amin(1, keepdim=True)), dim=1) * 4 - 2
        toned = brightest * (1 + self.tone_reach * torch.tanh(at_least_float32(self.tone(levels))))
        threshold = self.threshold * self.trained_share if self.training else self.threshold
        return (toned + torch.where(raw.abs() > threshold, raw, 0.0)).clamp(0, 1)


def tone_network(spatial_dims: int, width: int = 32) -> nn.Sequential:
    """The ``tone`` of ``SparseCorrection``, which sees each voxel alone."""
    layers: list[nn.Module] = []
    for channels in (4, width):
        layers += [Conv[Conv.CONV, spatial_dims](channels, width, 1), nn.GELU()]
    return nn.Sequential(*layers, Conv[Conv.CONV, spatial_dims](width, 1, 1))
