"""MONAI's checkpoint saver, which leaves no torn file behind."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.handlers.checkpoint import BaseSaveHandler
from monai.handlers import CheckpointSaver

from spinefuse_ext.files import atomic_write
from spinefuse_ext.safe_load import check_archive


def save_whole(state: Any, path: str | Path) -> None:
    """``torch.save`` that leaves the whole file or none: temporary name, flushed to the disk, renamed.

    Every tensor is stored as one of the CPU, so that a machine without a GPU can read it with any tool.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(on_cpu(state), file)
        file.flush()
        os.fsync(file.fileno())


def on_cpu(state: Any) -> Any:
    """Nested mappings and sequences of anything, with each of their tensors on the CPU; mappings keep their type."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        moved = copy.copy(state)
        moved.update((name, on_cpu(value)) for name, value in state.items())
        return moved
    if type(state) in (list, tuple):
        return type(state)(on_cpu(value) for value in state)
    return state


def stored_devices(path: str | Path) -> set[str]:
    """The devices that the tensors of a checkpoint are stored for, such as ``cpu`` or ``cuda:0``."""
    devices: set[str] = set()

    def note(storage: Any, device: str) -> Any:
        devices.add(device)
        return storage

    torch.load(check_archive(path), map_location=note, weights_only=True)
    return devices


class AtomicCheckpointSaver(CheckpointSaver):
    """``monai.handlers.CheckpointSaver`` that writes to a temporary name and renames, whatever ends the process.

    The best model is the one of the epoch that MONAI's evaluator notes as its best, also when the training was resumed
    in between. Arguments as there.
    """

    def __init__(self, save_dir: str, *args: Any, **options: Any) -> None:
        super().__init__(save_dir, *args, **options)
        named = {
            "_final_checkpoint": self._final_filename,
            "_key_metric_checkpoint": options.get("key_metric_filename"),
        }
        for kind in ("_final_checkpoint", "_key_metric_checkpoint", "_interval_checkpoint"):
            checkpoint = getattr(self, kind)
            if checkpoint is not None:
                checkpoint.save_handler = _WholeFiles(Path(save_dir), named.get(kind))

    def metrics_completed(self, engine: Engine) -> None:
        """Save when this epoch is the best one so far."""
        if getattr(engine.state, "best_metric_epoch", None) == engine.state.epoch:
            super().metrics_completed(engine)

    def exception_raised(self, engine: Engine, e: Exception) -> None:
        """Save the last weights of a training that fails; one that is refused before its first step has none."""
        if not engine.state.iteration:
            raise e
        super().exception_raised(engine, e)


class _WholeFiles(BaseSaveHandler):
    """Where ignite's ``Checkpoint`` puts its files: a folder, under their own names or a fixed one."""

    def __init__(self, folder: Path, filename: str | None) -> None:
        self.folder, self.filename = folder, filename

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        if idist.get_rank() == 0:
            save_whole(checkpoint, self.folder / (self.filename or filename))

    def remove(self, filename: str) -> None:
        if idist.get_rank() == 0:
            (self.folder / (self.filename or filename)).unlink(missing_ok=True)
