"""What the branches should hold: base features of CT and MR correlate, detail features do not (CDDFuse, CVPR 2023)."""

from __future__ import annotations

import torch
from torch.nn.modules.loss import _Loss

from spinefuse_ext.validation import check_same_shape


def correlation(first: torch.Tensor, second: torch.Tensor, min_std: float = 1e-4) -> torch.Tensor:
    """Pearson correlation over voxels, mean of all channels and samples: two ``(B, C, *S)`` to a scalar in [-1, 1].

    Channels that are constant in either input (standard deviation below ``min_std``) have no correlation and are left
    out of the mean; when all are, the result is 0 with zero gradient.
    """
    check_same_shape(first=first, second=second)
    axes = tuple(range(2, first.ndim))  # not flattened: that would copy features whose channels lie last in memory
    first, second = (_centred(features, axes) for features in (first, second))
    first_energy, second_energy = first.square().mean(axes), second.square().mean(axes)
    varies = torch.minimum(first_energy, second_energy) > min_std**2
    scale = torch.where(varies, first_energy, 1).rsqrt() * torch.where(varies, second_energy, 1).rsqrt()
    per_channel = torch.where(varies, (first * second).mean(axes) * scale, 0).clamp(-1, 1)
    return per_channel.sum() / varies.sum().clamp(min=1)


def _centred(features: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """``(B, C, *S)`` without its mean over ``axes``, float32 at least."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return features - features.mean(axes, keepdim=True)


class DecompositionLoss(_Loss):
    """``correlation(details)^2 / (offset + correlation(bases))``: small when bases agree and details do not.

    Args:
        offset: above 1, so that the divisor stays positive; the nearer to 1, the steeper the loss at opposed bases.
        min_std: channels that vary less than this count as constant and are left out.
    """

    def __init__(self, offset: float = 1.01, min_std: float = 1e-4) -> None:
        super().__init__()
        if offset <= 1:
            raise ValueError(f"Expected an offset above 1, which keeps the divisor positive, got {offset}.")
        self.offset, self.min_std = offset, min_std

    def forward(
        self, base_ct: torch.Tensor, base_mr: torch.Tensor, detail_ct: torch.Tensor, detail_mr: torch.Tensor
    ) -> torch.Tensor:
        """Features of the two modalities, each ``(B, C, *S)``, to a scalar."""
        base = correlation(base_ct, base_mr, self.min_std)
        return correlation(detail_ct, detail_mr, self.min_std).square() / (self.offset + base)
