"""The whole loss of the competing pair: supervised terms, rectification and the student's consistency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks import one_hot
from monai.utils import CommonKeys
from torch.nn.modules.loss import _Loss

from spinefuse_ext.enums import Consistency
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.losses.consistency import ConsistencyLoss, at_least_float32, masked_half_brier
from spinefuse_ext.losses.global_sums import foreground_dice_loss, mean_over_ranks
from spinefuse_ext.losses.rectification import disagreement_mask
from spinefuse_ext.validation import check_choice, check_classes, check_number, check_whole_or_none


class SemiSupervisedLoss(_Loss):
    """Cross-entropy + Dice + rectification on labelled data, weighted consistency on unlabelled (MCF, CVPR 2023).

    It reads the trainer's output: ``logits_labelled`` ``(N, B, K, *S)`` of N networks, ``label`` ``(B, 1, *S)`` of
    class numbers and, when handlers wrote them:

    - ``logits_unlabelled`` ``(N, U, K, *S)``, ``pseudo_label`` ``(U, K, *S)`` or one for each network
      ``(N, U, K, *S)``, ``student_weight`` ``(N,)``, and ``pseudo_weight``, what each voxel counts:
      ``(U, 1, *S)`` or ``(N, U, 1, *S)``;
    - ``learns`` ``(N, B)``: what each labelled case counts for each network, 0 to 1;
    - ``terms``: further scalars by name, weighted already, which are added (see ``spinefuse_ext.handlers.add_term``).

    Beside the terms it tells ``disagreement``, the part of the known labelled voxels that two networks name
    differently, and ``pseudo_entropy``, how undecided the pseudo-label is, 0 to 1.

    Without a pseudo-label it is the supervised loss; with N = 1 there is no rectification. Everything is computed in
    float32, under autocast too. Dice is that of the foreground classes with squared denominators, summed over the whole
    labelled batch. All means and sums are over the batches of all ranks: N processes with a part of the batch each take
    the step that one process takes with all of it.

    Args:
        rectification_weight: weight of each network's rectification loss, which is :class:`RectificationLoss`; the
            voxels of disagreement are found once for both.
        ce_weight: weight of cross-entropy.
        dice_weight: weight of the Dice loss.
        consistency: distance to the pseudo-label, see :class:`ConsistencyLoss`: ``brier``, ``ce`` or ``ce_dice``.
        ignore_index: label value of voxels whose truth is unknown; they count nowhere.
    """

    def __init__(
        self,
        rectification_weight: float = 0.5,
        ce_weight: float = 1.0,
        dice_weight: float = 1.0,
        consistency: str = Consistency.BRIER,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.rectification_weight = check_number("rectification_weight", rectification_weight, least=0)
        self.ce_weight = check_number("ce_weight", ce_weight, least=0)
        self.dice_weight = check_number("dice_weight", dice_weight, least=0)
        self.ignore_index = check_whole_or_none("ignore_index", ignore_index)
        self.consistency = ConsistencyLoss(check_choice("consistency", consistency, Consistency))

    def forward(self, input: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The trainer's output -> the terms and their sum ``loss``, scalars.

        Raises:
            UnknownLabelError: when a label on the CPU is neither a class of the network nor ``ignore_index``; the
                trainer looks at labels before they leave it.
        """
        logits = input[Keys.LOGITS_LABELLED]
        if input[CommonKeys.LABEL].device.type == "cpu":  # elsewhere it would wait for the device
            check_classes(input[CommonKeys.LABEL], logits.shape[2], self.ignore_index)
        with torch.autocast(logits.device.type, enabled=False):
            terms = self._labelled_terms(at_least_float32(logits), input[CommonKeys.LABEL], input.get(Keys.LEARNS))
            terms[Keys.CONSISTENCY_LOSS], terms[Keys.CONSISTENCY_WEIGHT] = self._student_terms(input)
            if Keys.PSEUDO_LABEL in input:
                terms[Keys.PSEUDO_ENTROPY] = _entropy(input[Keys.PSEUDO_LABEL], class_axis=-logits.ndim + 2)
            total = terms[Keys.SUPERVISED_LOSS] + self.rectification_weight * terms[Keys.RECTIFICATION_LOSS]
            further = input.get(Keys.TERMS, {})
            terms[CommonKeys.LOSS] = sum(further.values(), total + terms[Keys.CONSISTENCY_LOSS])
        return {**terms, **further}

    def _labelled_terms(
        self, logits: torch.Tensor, label: torch.Tensor, learns: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """``logits`` ``(N, B, K, *S)``, ``label`` ``(B, 1, *S)`` -> supervised, rectification and disagreement."""
        classes, known = self._truth(label)
        target = one_hot(classes, num_classes=logits.shape[2]).to(logits.dtype)
        log_probabilities = torch.log_softmax(logits, dim=2)
        probabilities = log_probabilities.exp()
        weights = [known] * len(logits) if learns is None else [known * _per_case(share, known) for share in learns]
        supervised = [
            self._supervised(log_p, p, target, weight)
            for log_p, p, weight in zip(log_probabilities, probabilities, weights, strict=True)
        ]
        rectification = disagreement = logits.new_zeros(())
        if len(logits) == 2:
            differ = disagreement_mask(*probabilities) & known
            rectification = torch.stack([masked_half_brier(p, target, differ) for p in probabilities]).sum()
            disagreement = mean_over_ranks(differ.sum().to(logits.dtype), known.sum())
        return {
            Keys.SUPERVISED_LOSS: torch.stack(supervised).sum(),
            Keys.RECTIFICATION_LOSS: rectification,
            Keys.DISAGREEMENT: disagreement,
        }

    def _truth(self, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class numbers with the ignored ones set to 0, and where the truth is known (bool): both ``(B, 1, *S)``."""
        known = torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index
        classes = torch.where(known, label, torch.zeros_like(label)).long()
        return classes, known

    def _supervised(
        self, log_p: torch.Tensor, p: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Weighted cross-entropy + Dice of one network: ``(B, K, *S)`` each, ``weight`` ``(B, 1, *S)`` -> scalar."""
        surprise = (weight * target * log_p).sum()
        cross_entropy = mean_over_ranks(-surprise, weight.sum())
        return self.ce_weight * cross_entropy + self.dice_weight * foreground_dice_loss(p, target, weight)

    def _student_terms(self, input: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted consistency of the students, and the sum of their weights: scalars, 0 without a pseudo-label."""
        zero = input[Keys.LOGITS_LABELLED].new_zeros((), dtype=torch.float32)
        if Keys.PSEUDO_LABEL not in input:
            return zero, zero
        probabilities = torch.softmax(at_least_float32(input[Keys.LOGITS_UNLABELLED]), dim=2)
        count, dims = len(probabilities), probabilities.ndim
        targets = _per_network(input[Keys.PSEUDO_LABEL], count, dims)
        masks = _per_network(input.get(Keys.PSEUDO_WEIGHT), count, dims)
        weights = input[Keys.STUDENT_WEIGHT]
        per_network = [self.consistency(p, q, mask) for p, q, mask in zip(probabilities, targets, masks, strict=True)]
        return (weights * torch.stack(per_network)).sum(), weights.sum()


def _entropy(probabilities: torch.Tensor, class_axis: int) -> torch.Tensor:
    """Mean entropy of a pseudo-label as a part of the largest possible one, 0 (certain) to 1: a scalar."""
    p = at_least_float32(probabilities)
    return -torch.xlogy(p, p).sum(class_axis).mean() / math.log(p.shape[class_axis])


def _per_case(share: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``(B,)`` in the shape ``(B, 1, *S)`` of ``like`` so that it multiplies each case."""
    return share.to(like.device).view(-1, *[1] * (like.ndim - 1))


def _per_network(value: torch.Tensor | None, count: int, dims: int) -> Sequence[torch.Tensor | None]:
    """One for each network: a tensor of ``dims`` axes has them stacked, another or None is the same for all."""
    return list(value) if value is not None and value.ndim == dims else [value] * count
