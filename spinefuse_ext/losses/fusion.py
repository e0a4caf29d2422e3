"""What the fused image should show: the brighter modality and the stronger edge at every voxel (CDDFuse, CVPR 2023)."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.gradients import CLASSIC_SOBEL, sobel
from spinefuse_ext.validation import check_fused_and_pair, check_number


def edge_strength(image: torch.Tensor) -> torch.Tensor:
    """Sum of the absolute (unnormalised) Sobel gradients, zeros beyond the border: ``(B, C, *S) -> (B, C, *S)``."""
    return CLASSIC_SOBEL * sobel(image, padding="zeros").abs().sum(0)


class FusionLoss(_Loss):
    """Absolute error to the voxel-wise maximum of the modalities, and to the maximum of their edge strengths.

    Args:
        intensity_weight: of the error in intensity.
        gradient_weight: of the error in edge strength.
    """

    def __init__(self, intensity_weight: float = 1.0, gradient_weight: float = 10.0) -> None:
        super().__init__()
        self.intensity_weight = check_number("intensity_weight", intensity_weight, least=0)
        self.gradient_weight = check_number("gradient_weight", gradient_weight, least=0)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """input: fused ``(B, 1, *S)``; target: its modalities ``(B, 2, *S)`` (or more); in [0, 1]. Returns a scalar."""
        check_fused_and_pair(input, target)
        input = input.to(torch.promote_types(input.dtype, torch.float32))
        target = target.to(input.dtype)
        intensity = F.l1_loss(input, target.amax(1, keepdim=True))
        edges = F.l1_loss(edge_strength(input), edge_strength(target).amax(1, keepdim=True))
        return self.intensity_weight * intensity + self.gradient_weight * edges
