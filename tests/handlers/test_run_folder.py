from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from ignite.engine import Engine
from monai.engines import Trainer
from monai.handlers import CheckpointLoader
from torch import nn

from spinefuse_ext.handlers import AtomicCheckpointSaver, RunFolderHandler, TrainingStateHandler
from spinefuse_ext.validation import ResumeError


def train(folder: Path, epochs: int = 2, *, until: int | None = None, pretrained: bool = False, **more: Any) -> float:
    """A training of one number; ``until`` cuts it off when that epoch is over. Returns the number."""
    network = nn.Linear(1, 1, bias=False)
    models, logs = folder / "models", folder / "eval"

    def step(engine: Engine, batch: Any) -> None:
        if engine.state.epoch - 1 == until:
            engine.terminate()
        network.weight.data += 1

    engine = Engine(step)
    if pretrained:
        CheckpointLoader(str(models / "model_final.pt"), {"model": network}, strict=False).attach(engine)
    options = {key: more[key] for key in more if key == "resume"}
    RunFolderHandler(models, logs, **more).attach(engine)
    saver = AtomicCheckpointSaver(str(models), {"model": network}, save_final=True, final_filename="model_final.pt")
    saver.attach(engine)
    TrainingStateHandler(save_dir=models, objects={"network": network}, **options).attach(cast(Trainer, engine))
    engine.run([0], max_epochs=epochs)
    return network.weight.item()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_training_is_not_replaced(tmp_path: Path) -> None:
    train(tmp_path)
    before = content(tmp_path)
    own = tmp_path / "eval" / f"events.out.tfevents.1.host.{os.getpid()}.0"
    own.parent.mkdir()
    own.touch()  # as a handler that draws curves does before the training starts
    with pytest.raises(
        ResumeError, match=r"training_epoch_0002\.pt is of another training.*another folder.*--redo True"
    ):
        train(tmp_path)
    assert content(tmp_path) == before


def test_nor_are_its_weights_when_its_state_was_deleted(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "models" / "training_epoch_0002.pt").unlink()
    before = content(tmp_path)
    with pytest.raises(ResumeError, match=r"model_final\.pt is of another training"):
        train(tmp_path)
    assert content(tmp_path) == before


def test_redo_deletes_the_other_training_and_nothing_else(tmp_path: Path) -> None:
    train(tmp_path, epochs=3)
    for name in ("eval/events.out.tfevents.1.host.1.0", "eval/notes.txt", "models/other.pt", "models/model.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    train(tmp_path, redo=True)
    kept = {"eval/notes.txt", "models/other.pt", "models/model_final.pt", "models/training_epoch_0002.pt"}
    assert set(content(tmp_path)) == kept


def test_a_training_that_was_cut_off_goes_on_or_is_done_anew(tmp_path: Path) -> None:
    train(tmp_path, epochs=3, until=2)
    (tmp_path / "models" / "training_epoch_0003.pt").unlink(missing_ok=True)
    with pytest.raises(ResumeError, match=r"cut off after epoch \d of 3\. Give --resume latest.*--redo True"):
        train(tmp_path, epochs=3)
    train(tmp_path, epochs=3, resume="latest")
    assert (tmp_path / "models" / "training_epoch_0003.pt").is_file()
    train(tmp_path, epochs=4, resume="latest")  # a finished one may be made longer
    assert (tmp_path / "models" / "training_epoch_0004.pt").is_file()


def test_what_begins_with_the_weights_that_are_there_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As MONAI Label trains, again and again in a bundle's own folder."""
    train(tmp_path)
    before = torch.load(tmp_path / "models" / "model_final.pt", weights_only=True)["weight"].item()
    assert train(tmp_path, pretrained=True) == pytest.approx(before + 2)


def test_the_weights_that_a_bundle_came_with_are_replaced_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("configs", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "model.pt").touch()
    with caplog.at_level(logging.WARNING):
        train(tmp_path)
    assert "model.pt is there already; this training puts its own weights in its place." in caplog.text
