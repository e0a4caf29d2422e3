"""How well each modality is rebuilt from its own features: structure, intensity and edges (CDDFuse, CVPR 2023)."""

from __future__ import annotations

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.gradients import sobel
from spinefuse_ext.validation import ConfigError, check_number, check_same_shape

WINDOW = 11
SIGMA = 1.5


def structural_dissimilarity(input: torch.Tensor, target: torch.Tensor, legacy_clamp: bool = False) -> torch.Tensor:
    """Mean of ``(1 - SSIM) / 2`` per voxel, two ``(B, C, *S)`` in [0, 1] to ``(B, C, *S)`` in [0, 1].

    Gaussian window of 11 voxels, sigma 1.5, borders reflected, so every axis needs 6 voxels or more. MONAI computes the
    SSIM in float32. ``legacy_clamp`` cuts negative SSIM to 0 as kornia 0.2 and with it CDDFuse did.
    """
    margin, axes = WINDOW // 2, input.ndim - 2
    if min(input.shape[2:]) <= margin:
        raise ConfigError(
            f"Expected at least {margin + 1} voxels on every axis, got an image of {tuple(input.shape)}; enlarge the "
            "patches."
        )
    padded = [F.pad(image, [margin] * (2 * axes), mode="reflect") for image in (input, target)]
    ssim, _ = compute_ssim_and_cs(padded[0], padded[1], axes, [WINDOW] * axes, [SIGMA] * axes)
    return (1 - ssim).clamp(0, 1) / 2 if legacy_clamp else (1 - ssim) / 2


class ReconstructionLoss(_Loss):
    """Structure, intensity and edges of a reconstruction, summed over its channels (one per modality).

    Args:
        ssim_weight: of the mean ``(1 - SSIM) / 2``.
        intensity_weight: of the mean squared error.
        gradient_weight: of the mean absolute error of the Sobel gradients.
        legacy_clamp: see ``structural_dissimilarity``.
    """

    def __init__(
        self,
        ssim_weight: float = 5.0,
        intensity_weight: float = 1.0,
        gradient_weight: float = 5.0,
        *,
        legacy_clamp: bool = False,
    ) -> None:
        super().__init__()
        self.ssim_weight = check_number("ssim_weight", ssim_weight, least=0)
        self.intensity_weight = check_number("intensity_weight", intensity_weight, least=0)
        self.gradient_weight = check_number("gradient_weight", gradient_weight, least=0)
        self.legacy_clamp = legacy_clamp

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """input: reconstruction, target: the modalities; both ``(B, C, *S)`` in [0, 1]. Returns a scalar."""
        check_same_shape(input=input, target=target)
        input = input.to(torch.promote_types(input.dtype, torch.float32))
        target = target.to(input.dtype)
        per_channel = self.intensity_weight * F.mse_loss(input, target)
        if self.ssim_weight:
            per_channel = (
                per_channel + self.ssim_weight * structural_dissimilarity(input, target, self.legacy_clamp).mean()
            )
        if self.gradient_weight:
            per_channel = per_channel + self.gradient_weight * F.l1_loss(sobel(input), sobel(target))
        return input.shape[1] * per_channel  # a mean over all channels, times their number: the sum over modalities
