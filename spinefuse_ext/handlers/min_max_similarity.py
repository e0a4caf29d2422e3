"""The four terms of Min-Max Similarity, and which network learns from which labelled case."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.engines import IterationEvents, Workflow
from monai.networks import one_hot
from monai.utils import CommonKeys

from spinefuse_ext.engines.semi_supervised import SemiSupervisedEvents
from spinefuse_ext.enums import CaseKeys, SemiSegKeys, SimilarityKeys
from spinefuse_ext.handlers.terms import add_term
from spinefuse_ext.losses import BoundaryWeightedLoss, DenseInfoNCELoss
from spinefuse_ext.validation import DatalistError, check_number, check_whole_or_none


class MinMaxSimilarityHandler:
    """Two networks, each taught by its half of the labelled patients (Lou et al., IEEE TMI 2023).

    At ``BATCH_READY`` it reads ``half`` ``(B,)`` (0 or 1, as ``load_datalist(halves=True)`` writes it) from the batch
    and writes ``learns`` ``(2, B)``: the first network learns from half 0, the second from half 1. At
    ``FORWARD_COMPLETED`` it adds, each times ``weight``:

    - ``structure_loss``: :class:`~spinefuse_ext.losses.BoundaryWeightedLoss` of each network to the labels of its
      half, summed;
    - ``similarity_loss``: the same loss of each network's unlabelled prediction to the other's, summed;
    - ``contrast_loss``: :class:`~spinefuse_ext.losses.DenseInfoNCELoss` of the unlabelled projections;
    - ``separation_loss``: the same without positives, of the classifications of pairs of labelled cases, one of each
      half; 0 in a batch without both halves.

    The supervised terms of ``SemiSupervisedLoss`` should be switched off beside it (weights 0).

    Departures from the published code: the similarity has a gradient (there it is a number); further ones stand at the
    two losses and at ``MinMaxSimilarityNet``.

    Args:
        weight: of each term.
        temperature: of the contrast.
        num_tokens: places of an image that are contrasted.
        norm_order: of the features' norm: 1 as published, 2 for cosines.
        window: side of the neighbourhood that says what is near a boundary, in voxels.
        ignore_index: label value of voxels whose truth is unknown.
    """

    def __init__(
        self,
        *,
        weight: float = 0.25,
        temperature: float = 0.07,
        num_tokens: int = 1024,
        norm_order: float = 1.0,
        window: int = 31,
        ignore_index: int | None = None,
    ) -> None:
        self.weight = check_number("weight", weight, least=0)
        self.ignore_index = check_whole_or_none("ignore_index", ignore_index)
        self.structure = BoundaryWeightedLoss(window)
        self.contrast = DenseInfoNCELoss(temperature, num_tokens, norm_order)
        self.separation = DenseInfoNCELoss(temperature, num_tokens, norm_order, positives=False)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(SemiSupervisedEvents.BATCH_READY, self.assign)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    def assign(self, engine: Workflow) -> None:
        """Write which network learns from which labelled case."""
        half = _halves(engine)
        learns = torch.stack([half == network for network in range(2)]).float()
        engine.state.output[SemiSegKeys.LEARNS] = learns.to(engine.state.device, non_blocking=True)

    def __call__(self, engine: Workflow) -> None:
        terms = {
            SimilarityKeys.STRUCTURE_LOSS: self._structure(engine),
            SimilarityKeys.SEPARATION_LOSS: self._separation(engine),
        }
        output = engine.state.output
        if SemiSegKeys.LOGITS_UNLABELLED in output:
            first, second = output[SemiSegKeys.LOGITS_UNLABELLED].float()
            similarity = self.structure(first, second.softmax(dim=1)) + self.structure(second, first.softmax(dim=1))
            terms[SimilarityKeys.SIMILARITY_LOSS] = similarity
            terms[SimilarityKeys.CONTRAST_LOSS] = self.contrast(*output[SimilarityKeys.PROJECTION_UNLABELLED])
        for name, value in terms.items():
            add_term(engine, name, value, self.weight)

    def _structure(self, engine: Workflow) -> torch.Tensor:
        """Sum over the networks of the loss to the labels of their half."""
        output = engine.state.output
        logits, label = output[SemiSegKeys.LOGITS_LABELLED], output[CommonKeys.LABEL]
        known = torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index
        target = one_hot(torch.where(known, label, torch.zeros_like(label)), num_classes=logits.shape[2])
        shares = output[SemiSegKeys.LEARNS]
        losses = [self.structure(z, target, known, share) for z, share in zip(logits, shares, strict=True)]
        return torch.stack(losses).sum()

    def _separation(self, engine: Workflow) -> torch.Tensor:
        """Contrast of the first network's maps of half 0 with the second network's of half 1, pair by pair."""
        features = engine.state.output[SimilarityKeys.CLASSIFICATION_LABELLED]
        half = _halves(engine).tolist()
        cases = [[number for number, value in enumerate(half) if value == network] for network in range(2)]
        pairs = list(zip(*cases, strict=False))
        if not pairs:
            return features.new_zeros((), dtype=torch.float32)
        first, second = zip(*pairs, strict=True)
        return self.separation(features[0, list(first)], features[1, list(second)])


def _halves(engine: Workflow) -> torch.Tensor:
    """The half of each labelled case ``(B,)``, on the CPU as the loader delivers it."""
    batch = engine.state.batch
    if not isinstance(batch, Mapping) or CaseKeys.HALF not in batch:
        raise DatalistError(
            f"Expected labelled cases with '{CaseKeys.HALF}' (0 or 1), got none. Set halves of load_datalist to true, "
            "and let the transforms pass the key."
        )
    return torch.as_tensor(batch[CaseKeys.HALF])
