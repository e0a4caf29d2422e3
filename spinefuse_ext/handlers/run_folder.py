"""The folder that a training writes to: nothing that is finished is replaced without a word."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import CheckpointLoader

from spinefuse_ext.validation import ResumeError

logger = logging.getLogger(__name__)

_WEIGHTS = ("model.pt", "model_final.pt")
_STATES = "training_epoch_*.pt"


class RunFolderHandler:
    """Refuses, when a training starts, a folder that holds the weights of another one, unless ``redo`` is given.

    With ``redo`` the weights, the states and the curves of the earlier training are deleted first, so that the folder
    never holds a mix of both. What goes on with earlier weights passes: ``resume``, an engine that runs once more, and
    :func:`begins_with_weights`. The weights that a bundle came with, in its own folder, are replaced by its first
    training, which is logged. Where the folder holds states too, ``TrainingStateHandler`` decides by them.

    Args:
        ckpt_dir: folder of weights and states.
        log_dir: folder of the curves.
        resume: as ``TrainingStateHandler`` takes it.
        redo: delete an earlier training.

    Raises:
        ResumeError: when the engine starts and ``ckpt_dir`` holds the weights of a training.
    """

    def __init__(
        self, ckpt_dir: str | Path, log_dir: str | Path, *, resume: str | Path | None = None, redo: bool = False
    ) -> None:
        self.ckpt_dir, self.log_dir, self.resume, self.redo = Path(ckpt_dir), Path(log_dir), resume, redo

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.epoch > 0 or self.resume is not None or idist.get_rank():
            return
        weights = [path for name in _WEIGHTS if (path := self.ckpt_dir / name).exists()]
        if self.redo:
            self._delete(weights)
        elif weights and not any(self.ckpt_dir.glob(_STATES)):
            if not begins_with_weights(engine) and not (self.ckpt_dir.parent / "configs").is_dir():
                raise ResumeError(another_training(weights[0]))
            logger.warning(f"{weights[0]} is there already; this training puts its own weights in its place.")

    def _delete(self, weights: Sequence[Path]) -> None:
        """Delete weights, states and those files of curves that this process does not write."""
        own = f".{os.getpid()}."
        curves = [path for path in self.log_dir.rglob("events.out.tfevents.*") if own not in path.name]
        for path in (*weights, *self.ckpt_dir.glob(_STATES), *curves):
            path.unlink(missing_ok=True)


def another_training(file: Path) -> str:
    """The sentence that refuses to replace ``file``, weights or the state of a finished training."""
    return (
        f"{file} is of another training, which this one would replace. Name another folder, or give --redo True to "
        "delete that training and begin anew."
    )


def begins_with_weights(engine: Engine) -> bool:
    """Whether a training loads weights by MONAI's ``CheckpointLoader``, as those that MONAI Label starts do."""
    started = engine._event_handlers[Events.STARTED]  # ignite has no public way to ask for handlers of a kind
    return any(isinstance(handler, CheckpointLoader) for handler, *_ in started)
