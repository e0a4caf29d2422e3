"""Laplacian pyramids (Burt and Adelson, IEEE Trans. Commun. 1983), 2-D and 3-D, any size."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def halved(x: torch.Tensor) -> torch.Tensor:
    """Smoothed with the binomial filter 1 3 3 1, every axis halved, odd sizes rounded up; the border is repeated."""
    padding: list[int] = []
    for axis in range(x.dim() - 2):
        padding += [1, 1 + x.size(x.dim() - 1 - axis) % 2]
    smooth = F.pad(x, padding, mode="replicate")
    # two taps of 1/2 each; three in a row are 1 3 3 1 over 8
    return _pooled(_pooled(_pooled(smooth, 1), 1), 2)


def _pooled(x: torch.Tensor, stride: int) -> torch.Tensor:
    if x.dim() == 4:
        return F.avg_pool2d(x, 2, stride)
    return F.avg_pool3d(x, 2, stride)


def mean_of_three(x: torch.Tensor) -> torch.Tensor:
    """Mean over three voxels along every axis, the border repeated: ``(B, C, *S) -> (B, C, *S)``."""
    padded = F.pad(x, [1, 1] * (x.dim() - 2), mode="replicate")
    if x.dim() == 4:
        return F.avg_pool2d(padded, 3, 1)
    return F.avg_pool3d(padded, 3, 1)


def doubled(coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Every axis doubled linearly, on the same voxel centres, then cut to the size of ``like``."""
    mode = "bilinear" if coarse.dim() == 4 else "trilinear"
    twice = F.interpolate(coarse, scale_factor=2.0, mode=mode, align_corners=False)
    for axis in range(2, like.dim()):
        twice = twice.narrow(axis, 0, like.shape[axis])
    return twice


def gaussian_pyramid(x: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """``x`` and ``levels`` images, each half as large as the one before it; fine to coarse."""
    images = [x]
    for _ in range(levels):
        x = halved(x)
        images.append(x)
    return images


def details(images: list[torch.Tensor]) -> list[torch.Tensor]:
    """What each image of a Gaussian pyramid has that the next one lacks, and the coarsest image; fine to coarse."""
    parts = [images[level] - doubled(images[level + 1], images[level]) for level in range(len(images) - 1)]
    parts.append(images[-1])
    return parts


def collapsed(parts: list[torch.Tensor]) -> torch.Tensor:
    """The image whose :func:`details` these are."""
    image = parts[-1]
    for level in range(len(parts) - 1):
        part = parts[len(parts) - 2 - level]
        image = part + doubled(image, part)
    return image
