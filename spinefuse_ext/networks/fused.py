"""Convolutions that take the step after them into the same pass over memory, where torch offers that on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F


def _operation(name: str, x: torch.Tensor) -> Any:
    """What torch.compile calls for ``x`` on a CPU; ``None`` where that is not to be had: it has no gradients."""
    plain = torch.is_grad_enabled() or x.dtype not in (torch.float32, torch.bfloat16)
    return None if plain or not torch.backends.mkldnn.is_available() else getattr(torch.ops.mkldnn, name, None)


def gelu_of_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int = 1
) -> torch.Tensor:
    """GELU of the convolution of ``x`` ``(B, C, *S)`` that keeps its size."""
    axes, pad = x.ndim - 2, weight.shape[2] // 2
    fused = _operation("_convolution_pointwise", x)
    if fused is None:
        return F.gelu((F.conv2d if axes == 2 else F.conv3d)(x, weight, bias, padding=pad, groups=groups))
    bias = None if bias is None else bias.to(x.dtype)
    ones = [1] * axes
    return fused(x, weight.to(x.dtype), bias, [pad] * axes, ones, ones, groups, "gelu", [], "none")


def add_convolution(total: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Add to ``total`` ``(B, C, *S)``, in place, the convolution of ``x`` with a kernel of one voxel; no gradients."""
    axes = x.ndim - 2
    fused = _operation("_convolution_pointwise_", x)
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    if fused is None or x.dtype != total.dtype or not total.is_contiguous(memory_format=layout):
        total.add_((F.conv2d if axes == 2 else F.conv3d)(x, weight, bias))
        return
    bias = None if bias is None else bias.to(x.dtype)
    none, ones = [0] * axes, [1] * axes
    fused.binary(total, x, weight.to(x.dtype), bias, none, ones, ones, 1, "add", 1.0, None, [], None)
