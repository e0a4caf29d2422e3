"""How far a segmentation can be trusted where there is no truth: agreement and confidence of the networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from monai.metrics import compute_dice

from spinefuse_ext.labels import STRUCTURES

#: The scores of one structure, in the order of ``trust_scores``.
TRUST_SCORES = ("trust", "agreement", "confidence")


def trust_scores(
    probability: torch.Tensor, members: Sequence[torch.Tensor] = (), labels: Mapping[int, str] = STRUCTURES
) -> dict[str, dict[str, float]]:
    """``{structure: {"trust", "agreement", "confidence"}}``, each in [0, 1], background (0) left out.

    ``agreement`` is the Dice of the two sub-networks' own labels of the structure, 0 when only one of them finds it
    and NaN for a single network. ``confidence`` is the mean, over the voxels that are labelled as the structure, of the
    probability of the structure less that of the next class: 1 is certain, 0 a tie. ``trust`` is the smaller of the two
    (the one there is, when the other is NaN). All are NaN for a structure that no network finds; that is no sign that
    it is not there.

    No truth is looked at: networks can agree on the same mistake, and trust is not the expected Dice.

    Args:
        probability: ``(K, *S)`` with sum 1, of the prediction that counts.
        members: label volumes ``(1, *S)`` of the two sub-networks; none for a single network.
        labels: index -> name of the K classes.
    """
    prediction = probability.argmax(dim=0)
    scores = {}
    for index, name in labels.items():
        if index != 0:
            agreement = _agreement([member == index for member in members])
            confidence = _margin(probability, prediction == index)
            known = [value for value in (agreement, confidence) if math.isfinite(value)]
            values = (min(known, default=math.nan), agreement, confidence)
            scores[name] = dict(zip(TRUST_SCORES, values, strict=True))
    return scores


def _agreement(masks: Sequence[torch.Tensor]) -> float:
    """Dice of two masks ``(1, *S)``; NaN when both are empty or there are none."""
    if not any(mask.any() for mask in masks):
        return math.nan
    first, second = (torch.as_tensor(mask)[None] for mask in masks)
    return float(compute_dice(first, second, ignore_empty=False))


def _margin(probability: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean lead of the first over the second class inside a mask ``(*S)``; NaN when it is empty."""
    if not mask.any():
        return math.nan
    first, second = probability[:, mask].topk(2, dim=0).values
    return float((first - second).mean())
