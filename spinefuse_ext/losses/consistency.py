"""Soft pseudo-labels: sharpening, and the distance of a student to them."""

from __future__ import annotations

import torch
from torch.nn.modules.loss import _Loss

from spinefuse_ext.enums import Consistency
from spinefuse_ext.losses.global_sums import foreground_dice_loss, mean_over_ranks
from spinefuse_ext.validation import check_choice, check_same_shape

_LEAST_PROBABILITY = 1e-7  # its logarithm is finite, and so is the gradient


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Raise half-precision values to float32, leave float32 and float64 as they are; any shape."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def sharpen(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sharpened probabilities ``p ** (1 / T) / sum(p ** (1 / T))`` from logits: ``(B, K, *S) -> (B, K, *S)``.

    Computed as ``softmax(logits / T)`` in float32, which is the same number without powers that underflow.
    """
    return torch.softmax(at_least_float32(logits) / temperature, dim=1)


def masked_half_brier(input: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the voxels of ``mask`` of half the squared distance of two probability vectors; 0 for an empty mask.

    ``input``, ``target``: ``(B, K, *S)``; ``mask``: bool or weight ``(B, 1, *S)``; returns a scalar in [0, 1].
    For two classes it is the squared difference of the foreground probabilities. The mean is over all ranks.
    """
    target = at_least_float32(target)
    half_brier = (at_least_float32(input) - target).square().sum(dim=1, keepdim=True) / 2
    weight = mask.to(half_brier.dtype)
    return mean_over_ranks((weight * half_brier).sum(), weight.sum())


class ConsistencyLoss(_Loss):
    """How far a student's probabilities are from a teacher's, any number of classes. No gradient reaches the target.

    - ``brier``: mean over voxels of half the squared distance of the probability vectors (MCF, Wang et al., CVPR
      2023). For two classes this equals the mean squared error over voxels and channels, and its scale does not shrink
      as classes are added.
    - ``ce``: cross-entropy to the target (CPS, Chen et al., CVPR 2021).
    - ``ce_dice``: mean of cross-entropy and of the Dice loss of the foreground classes, which sums over the whole batch
      (BCP, Bai et al., CVPR 2023).

    Args:
        kind: one of the above.
    """

    def __init__(self, kind: str = Consistency.BRIER) -> None:
        super().__init__()
        self.kind = check_choice("kind", kind, Consistency)

    def forward(self, input: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """``input``, ``target``: softmax ``(B, K, *S)``; returns a scalar.

        Args:
            input: the student's probabilities.
            target: the pseudo-label.
            mask: bool or weight ``(B, 1, *S)``: the voxels to learn from; all when omitted. An empty mask gives 0.

        Raises:
            ValueError: when the two shapes differ.
        """
        check_same_shape(input=input, target=target)
        target = at_least_float32(target.detach())
        if mask is None:
            mask = torch.ones_like(input[:, :1], dtype=torch.bool)
        if self.kind == Consistency.BRIER:
            return masked_half_brier(input, target, mask)
        input, weight = at_least_float32(input), mask.to(target.dtype)
        surprise = -(target * input.clamp(min=_LEAST_PROBABILITY).log()).sum(dim=1, keepdim=True)
        cross_entropy = mean_over_ranks((weight * surprise).sum(), weight.sum())
        if self.kind == Consistency.CE:
            return cross_entropy
        return (cross_entropy + foreground_dice_loss(input, target, weight)) / 2
