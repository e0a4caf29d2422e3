"""Fusion with guided filters: weights that follow the edges of the images they weigh."""

from __future__ import annotations

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.classical import check_pair
from spinefuse_ext.validation import check_number, check_numbers, check_spatial_dims


def box_mean(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the cube of ``2 * radius + 1`` voxels about each voxel, only of voxels in the image: ``(B, C, *S)``."""
    for axis in range(2, x.ndim):  # axis by axis: the cost grows with the radius, not with its square or cube
        lines = x.movedim(axis, -1)
        means = F.avg_pool1d(lines.flatten(0, -2), 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
        x = means.reshape(lines.shape).movedim(-1, axis)
    return x


def guided_filter(x: torch.Tensor, guide: torch.Tensor, radius: int, eps: float) -> torch.Tensor:
    """Smooth ``x`` except across the edges of ``guide`` (He, Sun, Tang, ECCV 2010); both ``(B, C, *S)``.

    In the cube about each voxel ``x`` is fitted by ``a * guide + b``, with the penalty ``eps * a ** 2``; a voxel gets
    the mean of the fits of all cubes that hold it. ``eps`` is a variance: edges far stronger than its root are kept.
    """
    mean_guide, mean_x = box_mean(guide, radius), box_mean(x, radius)
    covariance = box_mean(guide * x, radius) - mean_guide * mean_x
    variance = box_mean(guide * guide, radius) - mean_guide * mean_guide
    slope = covariance / (variance + eps)
    return box_mean(slope, radius) * guide + box_mean(mean_x - slope * mean_guide, radius)


class GuidedFilterFusion(nn.Module):
    """CT and MR in two scales, each weighted by where it shows more (Li, Kang, Hu, IEEE Trans. Image Process. 2013).

    ``(B, 2, *S)`` in [0, 1] to ``(B, 1, *S)`` in [0, 1], 2-D and 3-D, any size. Each source is parted into its box mean
    and the detail left. Where its Laplacian, smoothed, is the stronger one its weight is 1, elsewhere 0 (1 for both
    where equal). A guided filter, with the source as guide, turns the weights into smooth ones for the means and sharp
    ones for the details; weights below 0 are set to 0, and those of CT and MR are scaled to the sum 1. What leaves
    [0, 1] is cut off. The defaults are the authors'; radii are in voxels. Computed in float64, as ``detail_eps`` is
    of the size of float32's rounding.

    Args:
        spatial_dims: 2 or 3.
        base_radius: of the box whose mean is the coarse scale.
        saliency_radius: of the Gaussian, whose sigma is the same number.
        base_filter: radius and eps of the guided filter for the weights of the coarse scale.
        detail_filter: the same for the detail.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        base_radius: int = 15,
        saliency_radius: int = 5,
        base_filter: tuple[int, float] = (45, 0.3),
        detail_filter: tuple[int, float] = (7, 1e-6),
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        self.spatial_dims = spatial_dims
        self.base_radius = check_number("base_radius", base_radius, least=1, whole=True)
        self.saliency_radius = check_number("saliency_radius", saliency_radius, least=1, whole=True)
        self.base_filter = _radius_and_eps("base_filter", base_filter)
        self.detail_filter = _radius_and_eps("detail_filter", detail_filter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        pair = x.to(torch.float64)
        base = box_mean(pair, self.base_radius)
        saliency = self.saliency(pair)
        winner = (saliency == saliency.amax(dim=1, keepdim=True)).to(pair.dtype)
        fused = torch.zeros_like(pair[:, :1])
        for part, (radius, eps) in ((base, self.base_filter), (pair - base, self.detail_filter)):
            # a weight of 0 for both, which two fits may agree on, becomes a half each
            weight = guided_filter(winner, pair, radius, eps).clamp(min=1e-9)
            fused = fused + (weight / weight.sum(dim=1, keepdim=True) * part).sum(dim=1, keepdim=True)
        return fused.clamp(0.0, 1.0).to(x.dtype)

    def saliency(self, pair: torch.Tensor) -> torch.Tensor:
        """How much each source shows about a voxel: its Laplacian's magnitude, smoothed; ``(B, 2, *S)``, 0 or more."""
        laplacian = torch.zeros_like(pair)
        for axis in range(self.spatial_dims):
            taps = [torch.ones(1)] * self.spatial_dims
            taps[axis] = torch.tensor([1.0, -2.0, 1.0])
            laplacian = laplacian + separable_filtering(pair, taps, mode="replicate")
        smooth = gaussian_1d(torch.tensor(float(self.saliency_radius)), truncated=1.0, approx="sampled", normalize=True)
        return separable_filtering(laplacian.abs(), [smooth] * self.spatial_dims, mode="replicate")


def _radius_and_eps(setting: str, given: tuple[int, float]) -> tuple[int, float]:
    radius, eps = check_numbers(setting, given, length=2, above=0)
    return int(check_number(f"{setting} (its radius)", radius, least=1, whole=True)), eps
