"""What a training step is made of whatever is trained: accumulated gradients, their scale, and one decision for all."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import EventEnum, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer, Workflow


class TrainingEvents(EventEnum):
    """Moments after all else that happens at one of ignite's, in whatever order handlers were attached."""

    PREPARED = "prepared"
    """The end of ``Events.STARTED``: folders are checked and weights are loaded, and the first epoch has not begun."""
    EPOCH_DONE = "epoch_done"
    """The end of ``Events.EPOCH_COMPLETED``: the epoch is validated and the learning rate has moved on."""


class StepTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` with what the iterations of the trainers here share, and ``TrainingEvents``.

    Args:
        workflow: arguments of MONAI's ``SupervisedTrainer``, all by name; gradients are set to None unless
            ``optim_set_to_none`` says otherwise, or momentum would move what a step leaves unused.
    """

    scaler: Any

    def __init__(self, **workflow: Any) -> None:
        workflow.setdefault("optim_set_to_none", True)
        workflow["event_names"] = [TrainingEvents, *(workflow.get("event_names") or [])]
        super().__init__(**workflow)

    def run(self) -> None:  # type: ignore[override]
        """Train to ``max_epochs``; called again it goes on from where it was, as with MONAI's trainers.

        Gradients are scaled only for float16, whatever the device.
        """
        device_type = self.state.device.type
        half = self.amp_kwargs.get("dtype", torch.get_autocast_dtype(device_type)) == torch.float16
        # MONAI's Trainer.run would install a CUDA scaler whatever the device and type
        self.scaler = torch.amp.GradScaler(device_type, enabled=self.amp and half)
        for moment, tell in ((Events.STARTED, _tell_prepared), (Events.EPOCH_COMPLETED, _tell_done)):
            if self.has_event_handler(tell, moment):
                self.remove_event_handler(tell, moment)
            self.add_event_handler(moment, tell)  # all others are attached by now, so these come last
        Workflow.run(self)

    def _accumulation(self) -> tuple[bool, bool]:
        """Whether this iteration opens and closes a group of ``accumulation_steps`` (groups end with the epoch)."""
        length = self.state.epoch_length
        within = (self.state.iteration - 1) % length if length else self.state.iteration - 1
        closes = (within + 1) % self.accumulation_steps == 0 or within + 1 == length
        return within % self.accumulation_steps == 0, closes

    def _backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of one iteration to those of its group."""
        self.scaler.scale(loss / self.accumulation_steps).backward()


def _tell_prepared(engine: StepTrainer) -> None:
    engine.fire_event(TrainingEvents.PREPARED)


def _tell_done(engine: StepTrainer) -> None:
    engine.fire_event(TrainingEvents.EPOCH_DONE)


def finite_everywhere(*values: torch.Tensor) -> torch.Tensor:
    """1 where all values are finite here and on every other rank, so that all ranks decide alike, else 0; a scalar."""
    finite = torch.stack([value.detach().isfinite().all() for value in values]).all().float()
    agreed: Any = idist.all_reduce(finite, op="MIN")
    return torch.as_tensor(agreed)


def plain(image: torch.Tensor) -> torch.Tensor:
    """The values without metadata, which would be copied by every operation of a network."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image
