"""What a fused image should keep: the brighter voxel, the stronger edge with its direction, the local structure."""

from __future__ import annotations

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.fidelity import lost_fidelity, shared_information
from spinefuse_ext.losses.gradients import CLASSIC_SOBEL, sobel
from spinefuse_ext.validation import ConfigError, check_fused_and_pair, check_number

WINDOW = 7
FLAT = 1e-3  # gradients are measured as if this were added across them; the derivative of the length is finite then
STRENGTH_SLOPE, STRENGTH_CENTRE = 15.0, 0.5  # of the sigmoids of Xydeas and Petrovic
DIRECTION_SLOPE, DIRECTION_CENTRE = 22.0, 0.8


def stronger_gradient(pair: torch.Tensor) -> torch.Tensor:
    """Sobel gradient of the modality whose gradient is the longer one: ``(B, 2, *S) -> (axes, B, 1, *S)``."""
    gradient = sobel(pair)
    length = gradient.square().sum(0)
    return torch.where(length[:, :1] >= length[:, 1:], gradient[:, :, :1], gradient[:, :, 1:])


def lost_edges(fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
    """Share of the edges of both modalities that ``fused`` has lost: ``(B, 1, *S), (B, 2, *S) -> scalar`` in [0, 1].

    One minus the measure of Xydeas and Petrovic (Electronics Letters, 2000), made differentiable: at every voxel the
    kept strength and the kept direction of each modality's gradient, weighted by its length.
    """
    ours, theirs = CLASSIC_SOBEL * sobel(fused), CLASSIC_SOBEL * sobel(pair)
    our_length, their_length = ((gradient.square().sum(0) + FLAT**2).sqrt() for gradient in (ours, theirs))
    strength = torch.minimum(our_length, their_length) / torch.maximum(our_length, their_length)
    cosine = ((ours * theirs).sum(0) / (our_length * their_length)).abs().clamp(max=1 - 1e-5)
    direction = 1 - torch.acos(cosine) * (2 / torch.pi)
    kept = torch.sigmoid(STRENGTH_SLOPE * (strength - STRENGTH_CENTRE))
    kept = kept * torch.sigmoid(DIRECTION_SLOPE * (direction - DIRECTION_CENTRE))
    return 1 - ((kept * their_length).flatten(1).sum(1) / their_length.flatten(1).sum(1)).mean()


def dissimilarity(fused: torch.Tensor, pair: torch.Tensor, data_range: float) -> torch.Tensor:
    """``(1 - SSIM) / 2`` in uniform windows of 7 voxels, over CT and MR: ``(B, 1, *S), (B, 2, *S) -> scalar``."""
    axes = fused.ndim - 2
    total = fused.new_zeros(())
    for modality in pair.split(1, dim=1):
        similarity, _ = compute_ssim_and_cs(
            fused, modality, axes, [WINDOW] * axes, [1.0] * axes, data_range, kernel_type="uniform"
        )
        total = total + (1 - similarity).mean() / 2
    return total


class StructureFusionLoss(_Loss):
    """Error to the maximum of the modalities and to their stronger gradient, lost edges, structure and information.

    Unlike ``FusionLoss`` it compares gradients with their signs, so that an edge keeps its direction, and it asks for
    the structure of both modalities (SSIM in uniform windows of 7 voxels). The smaller ``data_range``, the more a faint
    structure counts: the constants of SSIM are ``(0.01 data_range)^2`` and ``(0.03 data_range)^2``.

    Args:
        intensity_weight: of the mean absolute error to the voxel-wise maximum.
        gradient_weight: of the absolute error of the Sobel gradient, summed over the axes.
        edge_weight: of ``lost_edges``. Too much of it hollows out bone and bright fluid: only their outlines are kept.
        ssim_weight: of ``(1 - SSIM) / 2``, summed over the modalities.
        fidelity_weight: of ``lost_fidelity``. As the main term it makes copies of one modality.
        information_weight: of ``shared_information``, negated.
        data_range: of the SSIM, in units of the images.
        information_reach: the gradient of the mutual information is taken only where the fused image differs from the
            maximum by less than this; elsewhere it would take every correction back.
    """

    def __init__(  # noqa: PLR0913 (a weight for each term)
        self,
        intensity_weight: float = 5.0,
        gradient_weight: float = 2.0,
        edge_weight: float = 6.0,
        ssim_weight: float = 12.0,
        fidelity_weight: float = 0.0,
        information_weight: float = 0.0,
        *,
        data_range: float = 0.03,
        information_reach: float = 0.04,
    ) -> None:
        super().__init__()
        self.intensity_weight = check_number("intensity_weight", intensity_weight, least=0)
        self.gradient_weight = check_number("gradient_weight", gradient_weight, least=0)
        self.edge_weight = check_number("edge_weight", edge_weight, least=0)
        self.ssim_weight = check_number("ssim_weight", ssim_weight, least=0)
        self.fidelity_weight = check_number("fidelity_weight", fidelity_weight, least=0)
        self.information_weight = check_number("information_weight", information_weight, least=0)
        self.data_range = check_number("data_range", data_range, above=0)
        self.information_reach = check_number("information_reach", information_reach, least=0)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """input: fused ``(B, 1, *S)``; target: its pair ``(B, 2, *S)``; in [0, 1], 7 voxels or more an axis."""
        check_fused_and_pair(input, target)
        if min(input.shape[2:]) < WINDOW:
            raise ConfigError(
                f"Expected at least {WINDOW} voxels on every axis, got an image of {tuple(input.shape)}; enlarge the "
                "patches."
            )
        input = input.to(torch.promote_types(input.dtype, torch.float32))
        target = target.to(input.dtype)
        brightest = target.amax(1, keepdim=True)
        intensity = F.l1_loss(input, brightest)
        gradient = (sobel(input) - stronger_gradient(target)).abs().sum(0).mean()
        loss = (
            self.intensity_weight * intensity
            + self.gradient_weight * gradient
            + self.edge_weight * lost_edges(input, target)
            + self.ssim_weight * dissimilarity(input, target, self.data_range)
        )
        if self.fidelity_weight:
            loss = loss + self.fidelity_weight * lost_fidelity(input, target)
        if self.information_weight:
            near = (input - brightest).abs() < self.information_reach
            held = torch.where(near, input, input.detach())
            loss = loss - self.information_weight * shared_information(held, target)
        return loss
