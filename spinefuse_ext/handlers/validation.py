"""Validation that starts with the stage whose result it judges."""

from __future__ import annotations

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler


class StageValidationHandler(ValidationHandler):
    """Run the evaluator every ``interval`` epochs from ``first_epoch`` on, and after the last epoch in any case.

    The fused image of a network that has only learnt to reconstruct says nothing, so the best checkpoint must not be
    chosen by it.
    """

    def __init__(self, interval: int, validator: Evaluator, first_epoch: int = 1) -> None:
        super().__init__(interval=interval, validator=validator, epoch_level=True)
        self.first_epoch = first_epoch

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        due = epoch >= self.first_epoch and (epoch - self.first_epoch + 1) % self.interval == 0
        if due or epoch == engine.state.max_epochs:
            super().__call__(engine)
