"""Dynamic competitive pseudo-labels: the better network of the step teaches the other one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines import IterationEvents, Workflow
from monai.networks import one_hot
from monai.utils import CommonKeys

from spinefuse_ext.enums import Competition
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers.ramp import gaussian_ramp, training_progress
from spinefuse_ext.losses import disagreement_mask, sharpen
from spinefuse_ext.validation import ConfigError, check_choice, check_number, check_part, check_whole_or_none

_SMOOTH = 1e-5
_UNDECIDED = -1


class CompetitivePseudoLabelHandler:
    """Names this iteration's teacher by labelled Dice and writes its pseudo-label (MCF, Wang et al., CVPR 2023).

    At ``FORWARD_COMPLETED`` it reads ``logits_labelled`` ``(2, B, K, *S)``, ``label`` ``(B, 1, *S)`` and, if there,
    ``logits_unlabelled`` ``(2, U, K, *S)``; it writes ``teacher`` (0 or 1), ``switched`` (1 where that is not the one
    of the step before), ``pseudo_label`` ``(U, K, *S)`` (the teacher's sharpened prediction, no gradient) and
    ``student_weight`` ``(2,)``: the ramped weight for the student,
    0 for the teacher. Nothing is copied to the host.

    The score of a network is its Dice loss, averaged over the foreground classes that the truth holds; its sums run
    over all ranks, so that all ranks name one teacher. Where the batch holds no foreground the former teacher stays.

    Args:
        temperature: of the sharpening ``softmax(logits / temperature)``, above 0.
        competition: ``soft`` (Dice of the softmax), ``sharpened`` (Dice of the sharpened softmax) or ``two_stage``
            (the sharpened one; where it differs by no more than ``tolerance``, the soft one).
        tolerance: difference of the sharpened Dice that counts as a tie in ``two_stage``.
        hysteresis: lead in Dice that a student needs to take over from the former teacher.
        score_ema: share of the past in the Dice sums, 0 (this batch only) up to but not including 1.
        max_weight: consistency weight of the student after the ramp.
        ramp_fraction: part of the training over which the weight rises along a Gaussian.
        start_fraction: part of the training before that, without consistency.
        clean_view: where an earlier handler changed the unlabelled images and kept the clean ones, predict those for
            the pseudo-label, by a further forward without gradient.
        agreement: count only voxels of which both networks name the same class.
        ignore_index: label value of voxels whose truth is unknown.

    Raises:
        ConfigError: an argument outside its range; at the first step, when the network is not a pair.
    """

    def __init__(  # noqa: PLR0913 (the options of the method, all keyword-only but two)
        self,
        temperature: float = 0.1,
        competition: str = Competition.TWO_STAGE,
        *,
        tolerance: float = 0.01,
        hysteresis: float = 0.0,
        score_ema: float = 0.0,
        max_weight: float = 0.1,
        ramp_fraction: float = 0.3,
        start_fraction: float = 0.0,
        clean_view: bool = False,
        agreement: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        self.temperature = check_number("temperature", temperature, above=0)
        self.competition = check_choice("competition", competition, Competition)
        self.tolerance = check_number("tolerance", tolerance, least=0)
        self.hysteresis = check_number("hysteresis", hysteresis, least=0)
        self.score_ema = check_number("score_ema", score_ema, least=0, below=1)
        self.max_weight = check_number("max_weight", max_weight, least=0)
        self.ramp_fraction = check_part("ramp_fraction", ramp_fraction)
        self.start_fraction = check_part("start_fraction", start_fraction)
        self.clean_view = clean_view
        self.agreement = agreement
        self.ignore_index = check_whole_or_none("ignore_index", ignore_index)
        self._sums: torch.Tensor | None = None  # (stage, network, foreground class, [p * y, p * p, y * y])
        self._teacher = torch.tensor(_UNDECIDED)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Workflow) -> None:
        output = engine.state.output
        logits = output[Keys.LOGITS_LABELLED]
        if len(logits) != 2:
            raise ConfigError(
                f"Expected logits (2, B, K, *S) of two networks, got {tuple(logits.shape)}. Use DualSegNet."
            )
        sums: Any = idist.all_reduce(self._dice_sums(logits, output[CommonKeys.LABEL]))
        self._update_sums(sums)
        teacher = self._name_teacher()
        former = self._teacher.to(teacher.device)
        output[Keys.SWITCHED] = ((former != teacher) & (former != _UNDECIDED)).long()
        self._teacher = output[Keys.TEACHER] = teacher
        progress = training_progress(engine)
        weight = gaussian_ramp(progress, self.ramp_fraction, self.max_weight, self.start_fraction)
        output[Keys.STUDENT_WEIGHT] = weight * (torch.arange(2, device=teacher.device) != teacher)
        if weight and Keys.LOGITS_UNLABELLED in output:
            self._write_pseudo_label(engine, teacher)

    def _write_pseudo_label(self, engine: Workflow, teacher: torch.Tensor) -> None:
        output = engine.state.output
        logits = output[Keys.LOGITS_UNLABELLED]
        if self.clean_view and Keys.CLEAN_UNLABELLED in output:
            returned = engine.network(output[Keys.CLEAN_UNLABELLED])  # type: ignore[attr-defined]
            logits = returned[Keys.LOGITS] if isinstance(returned, Mapping) else returned
        best = logits.index_select(0, teacher.view(1))[0]
        output[Keys.PSEUDO_LABEL] = sharpen(best, self.temperature)
        if self.agreement:
            output[Keys.PSEUDO_WEIGHT] = ~disagreement_mask(logits[0], logits[1])

    def state_dict(self) -> dict[str, Any]:
        """The former teacher and the running Dice sums (empty before the first iteration)."""
        return {"teacher": self._teacher, "sums": torch.empty(0) if self._sums is None else self._sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._teacher = state_dict["teacher"]
        self._sums = state_dict["sums"] if state_dict["sums"].numel() else None

    def _dice_sums(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Sums of p * y, p * p, y * y over the batch: ``(2 stages, 2 networks, K - 1, 3)``, float32."""
        known = torch.ones_like(label, dtype=torch.bool) if self.ignore_index is None else label != self.ignore_index
        classes = torch.where(known, label, torch.zeros_like(label))
        truth = (one_hot(classes, num_classes=logits.shape[2]) * known)[:, 1:]
        stages = [torch.stack([sharpen(z, temperature) for z in logits]) for temperature in (1.0, self.temperature)]
        p = torch.stack(stages)[:, :, :, 1:] * known  # stage, network, B, class, *S
        over = [2, *range(4, p.ndim)]
        return torch.stack([(p * truth).sum(over), p.square().sum(over), truth.expand_as(p).sum(over)], dim=-1)

    def _update_sums(self, sums: torch.Tensor) -> None:
        """Blend the new sums into the running ones; sums that are not finite are left out."""
        past = torch.zeros_like(sums) if self._sums is None else self._sums.to(sums.device)
        blended = self.score_ema * past + (1 - self.score_ema) * sums
        self._sums = torch.where(sums.isfinite().all(), blended, past)

    def _name_teacher(self) -> torch.Tensor:
        """The network that leads by more than the hysteresis, else the former teacher: 0 or 1 on the device."""
        assert self._sums is not None
        overlap, predicted, true = self._sums.unbind(-1)
        dice = (2 * overlap + _SMOOTH) / (predicted + true + _SMOOTH)
        present = (true > 0).to(dice.dtype)
        score = (dice * present).sum(-1) / present.sum(-1).clamp(min=1)
        soft, sharpened = score[:, 1] - score[:, 0]  # above 0: the second network is better
        lead = {
            Competition.SOFT: soft,
            Competition.SHARPENED: sharpened,
            Competition.TWO_STAGE: torch.where(sharpened.abs() > self.tolerance, sharpened, soft),
        }[self.competition]
        former = self._teacher.to(lead.device)
        decided = (lead.abs() > self.hysteresis) | (former == _UNDECIDED)
        return torch.where(decided, (lead >= 0).long(), former)  # a first tie goes to the second network, as in MCF
