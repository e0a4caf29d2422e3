"""The folder that a training writes to: nothing that is finished is replaced without a word."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import CheckpointLoader

from spinefuse_ext.safe_load import RunsCodeError, load_plain
from spinefuse_ext.validation import ResumeError

logger = logging.getLogger(__name__)

_WEIGHTS = ("model.pt", "model_final.pt")


class RunFolderHandler:
    """Refuses, when a training starts, a folder that holds another one, cut off or finished, unless ``redo`` is given.

    With ``redo`` the weights, the states and the curves of the earlier training are deleted first, so that the folder
    never holds a mix of both. What goes on with earlier weights passes: ``resume``, an engine that runs once more, and
    :func:`begins_with_weights`. The weights that a bundle came with, in its own folder, are replaced by its first
    training, which is logged. A refused training leaves nothing behind, not even empty files of curves.

    Args:
        ckpt_dir: folder of weights and states.
        log_dir: folder of the curves.
        resume: as ``TrainingStateHandler`` takes it.
        redo: delete an earlier training.

    Raises:
        ResumeError: when the engine starts and ``ckpt_dir`` holds the weights or the state of a training.
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
            return
        try:
            self._check(weights, begins_with_weights(engine))
        except ResumeError:
            for path in self._curves(own=True):  # begun a moment ago, and empty
                path.unlink(missing_ok=True)
            raise

    def _check(self, weights: Sequence[Path], goes_on: bool) -> None:
        states = check_states(self.ckpt_dir, goes_on=goes_on)
        if weights and not states:
            if not goes_on and not (self.ckpt_dir.parent / "configs").is_dir():
                raise ResumeError(_another_training(weights[0]))
            logger.warning(f"{weights[0]} is there already; this training puts its own weights in its place.")

    def _curves(self, *, own: bool) -> list[Path]:
        """The files of curves that this process writes, or all others."""
        found = self.log_dir.rglob("events.out.tfevents.*")
        return [path for path in found if (f".{os.getpid()}." in path.name) == own]

    def _delete(self, weights: Sequence[Path]) -> None:
        """Delete weights, states and those files of curves that this process does not write."""
        for path in (*weights, *state_files(self.ckpt_dir), *self._curves(own=False)):
            path.unlink(missing_ok=True)


def check_states(folder: Path, *, goes_on: bool = False) -> list[Path]:
    """Return the states in ``folder``; raise where they are of a training that nobody may replace.

    Args:
        folder: of the states.
        goes_on: a finished training may be replaced, as by one that begins with its weights.

    Raises:
        ResumeError: the newest state is of a training that was cut off, or of a finished one.
    """
    found = state_files(folder)
    state = read_state(found[0]) if found else None
    if state is not None and state["epoch"] < state["max_epochs"]:
        raise ResumeError(
            f"{found[0]} is the state of a training that was cut off after epoch {state['epoch']} of "
            f"{state['max_epochs']}. Give --resume latest to go on from it, another --ckpt_dir, or --redo True to "
            "begin anew."
        )
    if found and not goes_on:
        raise ResumeError(_another_training(found[0]))
    return found


def state_files(folder: Path) -> list[Path]:
    """State files of a training, of the latest epoch first."""
    found = [path for path in folder.glob("training_epoch_*.pt") if re.search(r"_\d+$", path.stem)]
    return sorted(found, key=lambda path: int(path.stem.rpartition("_")[2]), reverse=True)


def read_state(path: Path) -> dict[str, Any] | None:
    """The content of a state file, on the CPU; None when it is no whole state file. A program in it is an error."""
    try:
        state = load_plain(path)
    except RunsCodeError:
        raise
    except Exception:
        return None
    keys = {"epoch", "iteration", "max_epochs", "trainer", "validator", "objects"}
    return state if isinstance(state, dict) and keys <= state.keys() else None


def _another_training(file: Path) -> str:
    """The sentence that refuses to replace ``file``, weights or the state of a finished training."""
    return (
        f"{file} is of another training, which this one would replace. Name another folder, or give --redo True to "
        "delete that training and begin anew."
    )


def begins_with_weights(engine: Engine) -> bool:
    """Whether a training loads weights by MONAI's ``CheckpointLoader``, as those that MONAI Label starts do."""
    started = engine._event_handlers[Events.STARTED]  # ignite has no public way to ask for handlers of a kind
    return any(isinstance(handler, CheckpointLoader) for handler, *_ in started)
