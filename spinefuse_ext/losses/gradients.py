"""Sobel gradients as the losses use them, in 2-D and 3-D."""

from __future__ import annotations

import torch
from monai.networks.layers import separable_filtering

#: Response of the unnormalised 3x3 Sobel kernel, which published weights and constants are meant for, to slope 1.
CLASSIC_SOBEL = 8.0


def sobel(image: torch.Tensor, padding: str = "replicate") -> torch.Tensor:
    """First differences smoothed across, ``(B, C, *S) -> (axes, B, C, *S)``, in units of the image per voxel.

    A ramp of slope 1 gives 1. ``padding`` is ``"replicate"``, ``"reflect"`` or ``"zeros"``.
    """
    derivative, smoothing = torch.tensor([-0.5, 0.0, 0.5]), torch.tensor([0.25, 0.5, 0.25])
    axes = range(image.ndim - 2)
    kernels = ([derivative if axis == across else smoothing for across in axes] for axis in axes)
    return torch.stack([separable_filtering(image, kernel, padding) for kernel in kernels])
