"""Cross pseudo supervision: each network learns from the other's most likely classes."""

from __future__ import annotations

import torch
from monai.engines import IterationEvents, Workflow
from monai.networks import one_hot

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers.ramp import gaussian_ramp, training_progress
from spinefuse_ext.validation import ConfigError, check_number, check_part


class CrossPseudoLabelHandler:
    """Both networks teach each other on unlabelled images (CPS, Chen et al., CVPR 2021).

    At ``FORWARD_COMPLETED`` it reads ``logits_unlabelled`` ``(2, U, K, *S)`` and writes ``pseudo_label``
    ``(2, U, K, *S)``, for each network the one-hot arg-max of the other, and ``student_weight`` ``(2,)``, the ramped
    weight for both. It goes with ``SemiSupervisedLoss(consistency="ce")``.

    Args:
        max_weight: weight of the consistency after the ramp.
        ramp_fraction: part of the training over which the weight rises along a Gaussian.
        start_fraction: part of the training before that, without consistency.

    Raises:
        ConfigError: an argument outside its range; at the first step, when the network is not a pair.
    """

    def __init__(self, max_weight: float = 0.1, *, ramp_fraction: float = 0.4, start_fraction: float = 0.0) -> None:
        self.max_weight = check_number("max_weight", max_weight, least=0)
        self.ramp_fraction = check_part("ramp_fraction", ramp_fraction)
        self.start_fraction = check_part("start_fraction", start_fraction)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Workflow) -> None:
        output = engine.state.output
        if Keys.LOGITS_UNLABELLED not in output:
            return
        logits = output[Keys.LOGITS_UNLABELLED]
        if len(logits) != 2:
            raise ConfigError(
                f"Expected logits (2, U, K, *S) of two networks, got {tuple(logits.shape)}. Use DualSegNet."
            )
        classes = logits.flip(0).argmax(2, keepdim=True)
        output[Keys.PSEUDO_LABEL] = torch.stack([one_hot(one, num_classes=logits.shape[2]) for one in classes])
        weight = gaussian_ramp(training_progress(engine), self.ramp_fraction, self.max_weight, self.start_fraction)
        output[Keys.STUDENT_WEIGHT] = torch.full((2,), weight, device=logits.device)
