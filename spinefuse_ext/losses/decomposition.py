"""What the branches should hold: base features of CT and MR correlate, detail features do not (CDDFuse, CVPR 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.global_sums import mean_over_ranks
from spinefuse_ext.validation import check_number, check_same_shape


def correlation(first: torch.Tensor, second: torch.Tensor, min_std: float = 1e-4) -> torch.Tensor:
    """Pearson correlation over voxels, mean of all channels and samples: two ``(B, C, *S)`` to a scalar in [-1, 1].

    In a distributed training it is the mean over the samples of all processes, each of which must call it.

    Channels that are constant in either input (standard deviation below ``min_std``) have no correlation and are left
    out of the mean; when all are, the result is 0 with zero gradient.
    """
    check_same_shape(first=first, second=second)
    first, second = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (first, second))
    first_energy, second_energy, product = _Moments.apply(first, second)  # type: ignore[no-untyped-call]
    varies = torch.minimum(first_energy, second_energy) > min_std**2
    scale = torch.where(varies, first_energy, 1).rsqrt() * torch.where(varies, second_energy, 1).rsqrt()
    per_channel = torch.where(varies, product * scale, 0).clamp(-1, 1)
    return mean_over_ranks(per_channel.sum(), varies.sum())


class _Moments(torch.autograd.Function):
    """Variances and covariance of each channel over its voxels: two ``(B, C, *S)`` to three ``(B, C)``.

    The gradient of a moment is a sum of centred features. Written out, it takes a third of the passes that autograd
    makes over features that may be large, and it keeps their layout in memory.
    """

    @staticmethod
    def forward(ctx: Any, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        axes = tuple(range(2, first.ndim))
        first, second = (x - x.mean(axes, keepdim=True) for x in (first, second))
        ctx.save_for_backward(first, second)
        return first.square().mean(axes), second.square().mean(axes), (first * second).mean(axes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = ctx.saved_tensors
        spatial = first.shape[2:]
        of_first, of_second, mixed = (g.reshape(*g.shape, *[1] * len(spatial)) / math.prod(spatial) for g in grads)
        return (first * (2 * of_first)).addcmul_(second, mixed), (second * (2 * of_second)).addcmul_(first, mixed)


class DecompositionLoss(_Loss):
    """``correlation(details)^2 / (offset + correlation(bases))``: small when bases agree and details do not.

    Args:
        offset: above 1, so that the divisor stays positive; the nearer to 1, the steeper the loss at opposed bases.
        min_std: channels that vary less than this count as constant and are left out.
    """

    def __init__(self, offset: float = 1.01, min_std: float = 1e-4) -> None:
        super().__init__()
        self.offset = check_number("offset", offset, above=1)
        self.min_std = check_number("min_std", min_std, least=0)

    def forward(
        self, base_ct: torch.Tensor, base_mr: torch.Tensor, detail_ct: torch.Tensor, detail_mr: torch.Tensor
    ) -> torch.Tensor:
        """Features of the two modalities, each ``(B, C, *S)``, to a scalar."""
        base = correlation(base_ct, base_mr, self.min_std)
        return correlation(detail_ct, detail_mr, self.min_std).square() / (self.offset + base)
