"""Contrastive difference review: look again where two networks disagree, for at least one of them is wrong there."""

from __future__ import annotations

import torch
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.consistency import masked_half_brier
from spinefuse_ext.validation import check_same_shape


def disagreement_mask(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Voxels whose most likely class differs: two ``(B, K, *S)`` logits or probabilities -> bool ``(B, 1, *S)``.

    For two classes this is the exclusive or of the two binarised predictions.
    """
    check_same_shape(first=first, second=second)
    return first.max(dim=1, keepdim=True).indices != second.max(dim=1, keepdim=True).indices  # argmax: 13 times slower


class RectificationLoss(_Loss):
    """Squared error to the truth over the voxels where two networks disagree (MCF, Wang et al., CVPR 2023).

    Mean over those voxels of half the squared distance between the probability vector and the one-hot truth; for
    two classes that is the squared error of the foreground probability. Full agreement gives 0. The mask carries no
    gradient, so only ``input`` is trained.
    """

    def forward(
        self, input: torch.Tensor, target: torch.Tensor, rival: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``input``, ``rival``: softmax ``(B, K, *S)``; ``target``: one-hot, same shape; returns a scalar.

        Args:
            input: probabilities of the network that learns.
            target: the truth, one-hot.
            rival: probabilities of the other network.
            mask: bool ``(B, 1, *S)``, False where the truth is unknown; all voxels when omitted.

        Raises:
            ValueError: when the three shapes differ.
        """
        check_same_shape(input=input, target=target, rival=rival)
        differ = disagreement_mask(input, rival)
        return masked_half_brier(input, target, differ if mask is None else differ & mask.bool())
