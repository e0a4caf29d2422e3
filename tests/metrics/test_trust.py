from __future__ import annotations

import math

import pytest
import torch

from spinefuse_ext.metrics import trust_scores
from spinefuse_ext.metrics.trust import disagreement_share

LABELS = {0: "background", 1: "vertebra", 2: "disc"}


def probability(labels: torch.Tensor, certainty: float) -> torch.Tensor:
    """``(K, *S)``: the class of each voxel has ``certainty``, the others share the rest."""
    classes = torch.arange(len(LABELS)).view(-1, *[1] * labels[0].ndim)
    return torch.where(labels == classes, certainty, (1 - certainty) / 2)


def strip(stop: int) -> torch.Tensor:
    """A vertebra of the first ``stop`` of 20 voxels, then a disc of 4: ``(1, 1, 24)``."""
    labels = torch.zeros(1, 1, 24, dtype=torch.long)
    labels[..., :stop], labels[..., 20:] = 1, 2
    return labels


def test_trust_of_a_pair_is_the_geometric_mean_of_agreement_and_confidence() -> None:
    scores = trust_scores(probability(strip(16), 0.9), [strip(16), strip(8)], LABELS)
    assert scores["vertebra"]["agreement"] == pytest.approx(2 * 8 / (16 + 8))
    assert scores["vertebra"]["confidence"] == pytest.approx(0.9)
    assert scores["vertebra"]["trust"] == pytest.approx(math.sqrt(2 / 3 * 0.9))
    assert scores["disc"] == pytest.approx({"trust": math.sqrt(0.9), "agreement": 1.0, "confidence": 0.9})


def test_trust_falls_when_networks_disagree_and_when_they_are_less_sure() -> None:
    members = [[strip(16), strip(stop)] for stop in (16, 12, 8, 4, 0)]
    by_agreement = [trust_scores(probability(strip(16), 0.9), pair, LABELS)["vertebra"]["trust"] for pair in members]
    assert by_agreement == sorted(set(by_agreement), reverse=True)
    assert by_agreement[-1] == 0  # one network alone finds it
    sure = [
        trust_scores(probability(strip(16), certainty), members[0], LABELS)["vertebra"]["trust"]
        for certainty in (1.0, 0.8, 0.5)
    ]
    assert sure == sorted(set(sure), reverse=True)
    assert sure[0] == 1


def test_the_trust_of_a_single_network_is_its_confidence() -> None:
    scores = trust_scores(probability(strip(16), 0.7), labels=LABELS)["vertebra"]
    assert scores["trust"] == scores["confidence"] == pytest.approx(0.7)
    assert math.isnan(scores["agreement"])


def test_a_structure_that_no_network_finds_has_no_trust() -> None:
    scores = trust_scores(probability(strip(0), 0.9), [strip(0), strip(0)], LABELS)["vertebra"]
    assert all(math.isnan(value) for value in scores.values())


def test_a_structure_that_only_a_sub_network_finds_is_not_trusted() -> None:
    scores = trust_scores(probability(strip(0), 0.9), [strip(6), strip(0)], LABELS)["vertebra"]
    assert (scores["trust"], scores["agreement"]) == (0, 0)
    assert math.isnan(scores["confidence"])


def test_the_disagreement_is_a_part_of_what_was_found() -> None:
    first, second = torch.zeros(2, 1, 4, 4, dtype=torch.long)
    first[0, 0], second[0, 0, :3] = 1, 1  # 4 voxels of structures, 1 of them differs
    assert disagreement_share(first, second) == pytest.approx(1 / 4)
    assert disagreement_share(first, first) == 0.0
    second[0, 0] = 2
    assert disagreement_share(first, second) == 1.0
    assert disagreement_share(*torch.zeros(2, 1, 4, 4, dtype=torch.long)) == 1.0, "nothing found is not understood"
