"""Convolutions in fewer passes over memory, where torch offers that on a CPU; the same functions everywhere else."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.strips import eager_on_cpu

#: Weight and bias of a convolution.
Kernel = tuple[torch.Tensor, torch.Tensor | None]


def kernel_of(layer: nn.Module) -> Kernel:
    """Weight and bias of a convolution, or of the one inside MONAI's ``Convolution``."""
    inner = layer.get_submodule("conv") if isinstance(layer, Convolution) else layer
    weight, bias = (getattr(inner, name) for name in ("weight", "bias"))
    return weight, bias


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, groups: int = 1) -> torch.Tensor:
    """The convolution of ``x`` ``(B, C, *S)``, 2-D or 3-D, that keeps its size."""
    pad = weight.shape[2] // 2
    if x.dim() == 4:
        return F.conv2d(x, weight, bias, padding=pad, groups=groups)
    return F.conv3d(x, weight, bias, padding=pad, groups=groups)


@cache
def _fuses(dtype: torch.dtype) -> bool:
    """Whether this processor fuses convolutions of ``dtype``; in bfloat16 only those with AVX-512 or its like do."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _operation(name: str, x: torch.Tensor) -> Any:
    """What torch.compile calls for ``x`` on a CPU; ``None`` where that is not to be had: it has no gradients."""
    plain = torch.is_grad_enabled() or not _fuses(x.dtype)
    return None if plain else getattr(torch.ops.mkldnn, name, None)


def gelu_of_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int = 1
) -> torch.Tensor:
    """GELU of the convolution of ``x`` ``(B, C, *S)`` that keeps its size."""
    axes, pad = x.ndim - 2, weight.shape[2] // 2
    fused = _operation("_convolution_pointwise", x)
    if fused is None:
        return F.gelu(convolve(x, weight, bias, groups))
    bias = None if bias is None else bias.to(x.dtype)
    ones = [1] * axes
    return fused(x, weight.to(x.dtype), bias, [pad] * axes, ones, ones, groups, "gelu", [], "none")


def gated_convolution(
    x: torch.Tensor,
    wide: torch.Tensor,
    wide_bias: torch.Tensor | None,
    local: torch.Tensor,
    local_bias: torch.Tensor | None,
) -> torch.Tensor:
    """Two convolutions of ``x`` ``(B, C, *S)``, the second by groups; the GELU of half the channels times the others.

    On a CPU each half has memory of its own, which is faster than half of both.
    """
    groups = wide.shape[0] // local.shape[1]
    if not torch.jit.is_scripting():
        halves = eager_on_cpu(x)
        if halves:
            return _gated_halves(x, (wide, wide_bias), (local, local_bias), groups // 2)
    gate, value = convolve(convolve(x, wide, wide_bias), local, local_bias, groups).chunk(2, dim=1)
    return F.gelu(gate) * value


def _gated_halves(x: torch.Tensor, wide: Kernel, local: Kernel, groups: int) -> torch.Tensor:
    (gate_wide, value_wide), (gate_local, value_local) = (
        zip(weight.chunk(2), (None, None) if bias is None else bias.chunk(2), strict=True)
        for weight, bias in (wide, local)
    )
    gate = gelu_of_convolution(convolve(x, *gate_wide), *gate_local, groups)
    value = convolve(convolve(x, *value_wide), *value_local, groups)
    return gate * value if torch.is_grad_enabled() else gate.mul_(value)


def add_convolution(total: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Add to ``total`` ``(B, C, *S)``, in place, the convolution of ``x`` with a kernel of one voxel; no gradients."""
    axes = x.ndim - 2
    fused = _operation("_convolution_pointwise_", x)
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    if fused is None or x.dtype != total.dtype or not total.is_contiguous(memory_format=layout):
        total.add_(convolve(x, weight, bias))
        return
    bias = None if bias is None else bias.to(x.dtype)
    none, ones = [0] * axes, [1] * axes
    fused.binary(total, x, weight.to(x.dtype), bias, none, ones, ones, 1, "add", 1.0, None, [], None)


def join(first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution with a kernel of one voxel, ``weight``, of both ``(B, C, *S)`` joined in the channels.

    Half a matrix for each, summed: the same as the whole for both in one tensor, which need not be made then.
    """
    of_first, of_second = weight.split([first.shape[1], second.shape[1]], dim=1)
    if not torch.jit.is_scripting():
        in_place = eager_on_cpu(first) and not torch.is_grad_enabled()
        if in_place:
            joined = convolve(first, of_first)
            add_convolution(joined, second, of_second, None)
            return joined
    result = F.linear(first.movedim(1, -1), of_first.flatten(1))
    return result.add_(F.linear(second.movedim(1, -1), of_second.flatten(1))).movedim(-1, 1)
