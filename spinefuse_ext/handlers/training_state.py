"""The whole state of a training in a file after each epoch, and going on from it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator, Trainer

from spinefuse_ext.engines import StepTrainer, TrainingEvents
from spinefuse_ext.handlers.checkpoints import save_whole
from spinefuse_ext.handlers.run_folder import begins_with_weights, check_states, read_state, state_files
from spinefuse_ext.networks import unwrap
from spinefuse_ext.validation import ResumeError, check_number

logger = logging.getLogger(__name__)

LATEST = "latest"
_NAME = "training_epoch_{:04d}.pt"
_BEST = ("best_metric", "best_metric_epoch")


class TrainingStateHandler:
    """Writes ``training_epoch_NNNN.pt`` when an epoch is over, and lets a training go on from such a file.

    The file holds epoch and iteration, weights, optimiser, schedule, the loss scaler of float16, the best validation
    so far, and the state of those method ``handlers`` that have one (former teacher, running scores, discriminator).
    Random states need no place in it, for ``EpochSeedHandler`` draws them from the number of the epoch. So a training
    that was killed and resumed ends with the weights of one that was not.

    It acts after all else: it goes on once weights are loaded (``TrainingEvents.PREPARED``), and notes an epoch once
    schedule and validation are done (``EPOCH_DONE``), wherever it stands among the handlers. A trainer without these
    events gets it at the end of those handlers that it had by then.

    Args:
        save_dir: folder of the files; rank 0 writes, every rank reads.
        objects: what has ``state_dict`` and ``load_state_dict``, by name: network, optimiser, schedule.
        handlers: of the method.
        validator: evaluator whose best metric decides which weights are the best.
        resume: ``"latest"`` goes on from the newest whole file of ``save_dir``, or begins when there is none; a path
            goes on from that file; ``None`` begins.
        interval: epochs between two files; the last epoch is always written.
        keep: how many files stay.

    Raises:
        ConfigError: ``interval`` or ``keep`` is no whole number of at least 1.
        ResumeError: when the engine starts: ``resume`` is None and ``save_dir`` holds the state of another training,
            cut off or finished (``RunFolderHandler`` deletes it on request); no file can be read; or the file belongs
            to another network or method.
    """

    def __init__(
        self,
        *,
        save_dir: str | Path,
        objects: Mapping[str, Any],
        handlers: Sequence[Any] = (),
        validator: Evaluator | None = None,
        resume: str | Path | None = None,
        interval: int = 1,
        keep: int = 2,
    ) -> None:
        self.save_dir = Path(save_dir)
        self.objects = {**objects, **_by_type(handler for handler in handlers if hasattr(handler, "state_dict"))}
        self.validator, self.resume = validator, resume
        self.interval = check_number("interval", interval, least=1, whole=True)
        self.keep = check_number("keep", keep, least=1, whole=True)

    def attach(self, engine: Trainer) -> None:
        late = isinstance(engine, StepTrainer)
        engine.add_event_handler(TrainingEvents.PREPARED if late else Events.STARTED, self.start)
        engine.add_event_handler(TrainingEvents.EPOCH_DONE if late else Events.EPOCH_COMPLETED, self.save)

    def start(self, engine: Trainer) -> None:
        """Go on from a file, or make sure that nothing is lost by a beginning.

        An engine that is run once more, as in each round of a federation, goes on with what it holds.
        """
        if engine.state.epoch > 0:
            return
        if self.resume is None:
            self._refuse_to_overwrite(engine)
            return
        found = self._read()
        epochs = idist.all_gather(0 if found is None else found[1]["epoch"])
        if isinstance(epochs, list) and len(set(epochs)) > 1:
            raise ResumeError(
                f"The processes found different states in {self.save_dir} (after epochs {epochs}). All nodes must "
                "see the same folder: put ckpt_dir on a shared disk."
            )
        if found is None:
            logger.info(f"Nothing to go on from in {self.save_dir}: the training begins.")
            return
        path, state = found
        self._restore(engine, path, state)
        logger.info(f"Going on from {path}: {engine.state.epoch} of {engine.state.max_epochs} epochs are done.")

    def save(self, engine: Trainer) -> None:
        """Note the end of an epoch."""
        epoch, last = engine.state.epoch, engine.state.max_epochs
        if idist.get_rank() or (epoch % self.interval and epoch != last):
            return
        state: dict[str, Any] = {
            "epoch": epoch,
            "iteration": engine.state.iteration,
            "max_epochs": last,
            "trainer": _best(engine),
            "validator": _best(self.validator),
            "objects": {name: _state(part) for name, part in self.objects.items()},
        }
        scaler = _scaler(engine)
        if scaler is not None:
            state["scaler"] = scaler.state_dict()
        save_whole(state, self.save_dir / _NAME.format(epoch))
        for path in self._files()[self.keep :]:
            path.unlink(missing_ok=True)
        if epoch == last:
            for path in self._files()[1:]:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return state_files(self.save_dir)

    def _refuse_to_overwrite(self, engine: Trainer) -> None:
        if not idist.get_rank():
            check_states(self.save_dir, goes_on=begins_with_weights(engine))
            for path in self._files():
                path.unlink(missing_ok=True)

    def _read(self) -> tuple[Path, dict[str, Any]] | None:
        """The file to go on from and its content; None when there is no file."""
        paths = self._files() if self.resume == LATEST else [Path(str(self.resume))]
        for rest in self.save_dir.glob(".training_epoch_*") if not idist.get_rank() else ():
            shutil.rmtree(rest, ignore_errors=True)  # what a killed process was writing
        for path in paths:
            state = read_state(path)
            if state is not None:
                return path, state
            if self.resume == LATEST:
                logger.warning(f"{path} cannot be read: it is damaged, or no training state. Trying the one before.")
        if not paths:
            return None
        names = ", ".join(str(path) for path in paths)
        raise ResumeError(f"No training state can be read from {names}. Give another file, or begin without --resume.")

    def _restore(self, engine: Trainer, path: Path, state: dict[str, Any]) -> None:
        # files of before 0.1.0 have the place of a handler before its type
        state["objects"] = {name.lstrip("0123456789 "): part for name, part in state["objects"].items()}
        missing = [name for name in self.objects if name not in state["objects"]]
        if missing:
            raise ResumeError(
                f"{path} holds no state of {', '.join(missing)}; it has {', '.join(state['objects'])}. "
                "Resume with the method that was trained, or begin without --resume."
            )
        if state["max_epochs"] != engine.state.max_epochs:
            logger.warning(
                f"{path} is of a training of {state['max_epochs']} epochs, which is to last {engine.state.max_epochs} "
                "now; its schedule of the learning rate goes on as it was."
            )
        try:
            self._load_objects(engine, state)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ResumeError(
                f"{path} does not fit this training: {reason} Resume with the settings it had, or begin without "
                "--resume."
            ) from error
        engine.state.epoch, engine.state.iteration = state["epoch"], state["iteration"]
        targets = [(engine.state, state["trainer"])]
        if self.validator is not None:
            targets.append((self.validator.state, state["validator"]))
        for target, values in targets:
            for name, value in values.items():
                setattr(target, name, value)

    def _load_objects(self, engine: Trainer, state: dict[str, Any]) -> None:
        for name, part in self.objects.items():
            inner = unwrap(part) if isinstance(part, torch.nn.Module) else part
            inner.load_state_dict(state["objects"][name])
        scaler = _scaler(engine)
        if scaler is not None and "scaler" in state:
            scaler.load_state_dict(state["scaler"])


def _by_type(handlers: Iterable[Any]) -> dict[str, Any]:
    """Handlers by the name of their type, the second of one type with its number: the order of types is no matter."""
    named: dict[str, Any] = {}
    for handler in handlers:
        name = type(handler).__name__
        same = sum(type(other) is type(handler) for other in named.values())
        named[f"{name} {same + 1}" if same else name] = handler
    return named


def _best(engine: Engine | None) -> dict[str, Any]:
    values = {name: getattr(engine.state, name, None) for name in _BEST} if engine is not None else {}
    return {name: value.item() if isinstance(value, torch.Tensor) else value for name, value in values.items()}


def _state(part: Any) -> Any:
    return unwrap(part).state_dict() if isinstance(part, torch.nn.Module) else part.state_dict()


def _scaler(engine: Any) -> torch.amp.GradScaler | None:
    """The loss scaler of a trainer when it scales, which it does for float16."""
    scaler = getattr(engine, "scaler", None)
    return scaler if scaler is not None and scaler.is_enabled() else None
