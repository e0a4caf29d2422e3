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
    and NaN for a single network. ``confidence`` is the mean probability of the structure over the voxels that are
    labelled as it, in [1 / K, 1]; NaN when there are none. ``trust`` is the geometric mean of the two, so that it is 0
    where nothing agrees, and the one there is when the other is NaN. All are NaN for a structure that no network
    finds; that is no sign that it is not there.

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
            mask = prediction == index
            confidence = float(probability[index][mask].mean())  # NaN for an empty mask
            known = [value for value in (agreement, confidence) if math.isfinite(value)]
            trust = math.prod(known) ** (1 / len(known)) if known else math.nan
            scores[name] = dict(zip(TRUST_SCORES, (trust, agreement, confidence), strict=True))
    return scores


def disagreement_share(first: torch.Tensor, second: torch.Tensor) -> float:
    """Voxels where two label volumes ``(1, *S)`` differ, as part of those that either calls a structure; in [0, 1].

    1 when neither finds anything: an image of a spine in which nothing is found is the least understood one.
    """
    found = (first > 0) | (second > 0)
    return float((first != second).sum() / found.sum()) if found.any() else 1.0


def _agreement(masks: Sequence[torch.Tensor]) -> float:
    """Dice of two masks ``(1, *S)``; NaN when both are empty or there are none."""
    if not any(mask.any() for mask in masks):
        return math.nan
    first, second = (torch.as_tensor(mask)[None] for mask in masks)
    return float(compute_dice(first, second, ignore_empty=False))
