"""A fusion network that learns from the segmentation still gives a picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.engines import IterationEvents, Workflow
from monai.utils import CommonKeys

from spinefuse_ext.channels import with_the_other
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.enums import for_labelled, for_unlabelled
from spinefuse_ext.handlers.terms import add_term
from spinefuse_ext.validation import ConfigError, check_number


class FusedImageHandler:
    """Adds to the loss of the segmentation how far the fused image is from one that a reader can use.

    For networks whose training forward returns ``fused`` beside the logits, as ``PairSegNet`` does with a fusion
    network that learns. The images of both streams count.

    Args:
        loss: of fused images ``(B, 1, *S)`` and their pairs ``(B, 2, *S)``, such as ``ReaderFusionLoss``.
        weight: what it counts beside the loss of the segmentation.

    Raises:
        ConfigError: a negative weight; at the first step, when the network returns no fused image.
    """

    def __init__(self, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], weight: float = 0.1) -> None:
        self.loss, self.weight = loss, check_number("weight", weight, least=0)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        output = engine.state.output
        if for_labelled(Keys.FUSED) not in output:
            raise ConfigError(
                "FusedImageHandler needs a network that returns the fused image while it trains: PairSegNet with a "
                "fusion network that learns (network_def#channels#learns)."
            )
        fused = [output[for_labelled(Keys.FUSED)][0]]
        pairs = [output[CommonKeys.IMAGE]]
        if for_unlabelled(Keys.FUSED) in output:
            fused.append(output[for_unlabelled(Keys.FUSED)][0])
            pairs.append(output[Keys.UNLABELLED_IMAGE])
        pair = torch.cat(pairs)
        with torch.autocast(pair.device.type, enabled=False):
            value = self.loss(torch.cat(fused).float(), with_the_other(pair).float())
        add_term(engine, Keys.FUSED_LOSS, value, self.weight)
