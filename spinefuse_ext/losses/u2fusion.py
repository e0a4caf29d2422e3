"""The loss of U2Fusion: stay close to each source as far as it holds information."""

from __future__ import annotations

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.information import InformationMeasure, PyramidInformation
from spinefuse_ext.losses.reconstruction import SIGMA, WINDOW
from spinefuse_ext.validation import ConfigError, check_number


class U2FusionLoss(_Loss):
    """Weighted dissimilarity and squared error to both sources (Xu et al., IEEE TPAMI 2022).

    With ``w`` the softmax over the sources of information / temperature, one pair of weights per image: the mean over
    the batch of ``sum_i w_i (1 - SSIM_i) + intensity_weight * sum_i w_i MSE_i``. SSIM uses a Gaussian window of 11
    voxels, sigma 1.5, whole windows only, so every axis needs 11 voxels or more.

    Args:
        information: measures the sources; ``PyramidInformation`` when not given.
        intensity_weight: of the squared errors.
    """

    def __init__(self, information: InformationMeasure | None = None, intensity_weight: float = 20.0) -> None:
        super().__init__()
        self.information = PyramidInformation() if information is None else information
        self.intensity_weight = check_number("intensity_weight", intensity_weight, least=0)

    def source_weights(self, sources: torch.Tensor) -> torch.Tensor:
        """Information preservation degrees of sources ``(B, M, *S)`` in [0, 1]: ``(B, M)``, each row sums to 1."""
        measure = self.information.to(sources.device)
        information = torch.stack([measure(source) for source in sources.split(1, dim=1)], dim=1)
        return torch.softmax(information / measure.temperature, dim=1)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """input: fused ``(B, 1, *S)``; target: its sources ``(B, 2, *S)`` (or more); in [0, 1]. Returns a scalar."""
        _check(input, target)
        input = input.to(torch.promote_types(input.dtype, torch.float32))
        target = target.to(input.dtype)
        axes = input.ndim - 2
        ssim, _ = compute_ssim_and_cs(input.expand_as(target), target, axes, [WINDOW] * axes, [SIGMA] * axes)
        squared = (input - target).square()
        cost = 1 - ssim.flatten(2).mean(2) + self.intensity_weight * squared.flatten(2).mean(2)
        return (self.source_weights(target) * cost).sum(1).mean()


def _check(fused: torch.Tensor, sources: torch.Tensor) -> None:
    if fused.shape[1] != 1 or fused.shape[0] != sources.shape[0] or fused.shape[2:] != sources.shape[2:]:
        raise ValueError(
            f"Expected a fused image (B, 1, *S) and its sources (B, 2, *S) of one size, "
            f"got {tuple(fused.shape)} and {tuple(sources.shape)}."
        )
    if min(fused.shape[2:]) < WINDOW:
        raise ConfigError(
            f"Expected at least {WINDOW} voxels on every axis, got an image of {tuple(fused.shape)}; enlarge the "
            "patches."
        )
