"""Small neighbourhood operations on batches ``(B, C, *S)`` in 2-D and 3-D."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}
_MEAN_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


def dilate(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Largest value within ``pixels`` along each axis (one axis after the other, so that width costs little)."""
    dims = mask.ndim - 2
    for axis in range(dims):
        kernel = [1] * dims
        kernel[axis] = 2 * pixels + 1
        padding = [side // 2 for side in kernel]
        mask = _MAX_POOL[dims](mask, tuple(kernel), 1, tuple(padding))
    return mask


def erode(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Smallest value within ``pixels`` along each axis."""
    return -dilate(-mask, pixels)


def soften(image: torch.Tensor, pixels: int = 1) -> torch.Tensor:
    """Mean over ``2 pixels + 1`` along each axis; the border averages what is there."""
    dims = image.ndim - 2
    size = 2 * pixels + 1
    return _MEAN_POOL[dims](image, size, 1, pixels, count_include_pad=False)


def spread(image: torch.Tensor) -> torch.Tensor:
    """Standard deviation of each image, ``(B, 1, 1, ...)``, never 0."""
    deviation = image.flatten(1).std(1) + 1e-4
    return deviation.view(-1, *[1] * (image.ndim - 1))
