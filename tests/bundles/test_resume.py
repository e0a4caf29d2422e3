"""Trainings that are cut off, and go on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from spinefuse_ext.validation import ResumeError
from spinefuse_ext.verbs.commands import bundle_command

pytestmark = pytest.mark.slow

BUNDLES = Path(__file__).parents[2] / "bundles"
EPOCHS = 4
NARROW = [4, 8, 16, 32, 64]
SMALL: dict[str, dict[str, Any]] = {
    "spine_fusion": {
        "canvas": [64, 80],
        "patch_size": [32, 32],
        "patch_scales": [0.5, 1.0],
        "network_def#dim": 8,
        "network_def#num_blocks": [1, 1],
        "network_def#num_heads": 2,
        "batch_size": 4,
        "crops_per_case": 2,
        "stage1_epochs": 2,
    },
    "spine_semiseg": {"canvas": [64, 80], "unet_channels": NARROW, "vnet_channels": NARROW, "crops_per_case": 3},
}
METHODS = [
    ("spine_fusion", ()),
    ("spine_semiseg", ()),
    ("spine_semiseg", ("ua_mt.json",)),
    ("spine_semiseg", ("sassnet.json",)),
    ("spine_semiseg", ("min_max_similarity.json",)),
]
each_method = pytest.mark.parametrize(("bundle", "deltas"), METHODS, ids=[", ".join((b, *d)) for b, d in METHODS])

Workflow = Callable[..., ConfigWorkflow]


def settings(bundle: str, folder: Path) -> dict[str, Any]:
    places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    return {**SMALL[bundle], **places, "epochs": EPOCHS, "val_interval": 1, "seed": 5}


def train(workflow: Workflow, bundle: str, deltas: tuple[str, ...], folder: Path, **more: Any) -> None:
    made = workflow(bundle, "train.json", *deltas, **{**settings(bundle, folder), **more})
    made.run()
    made.finalize()


def cut_off(workflow: Workflow, bundle: str, deltas: tuple[str, ...], folder: Path, epoch: int) -> None:
    """Train until the first step of an epoch, and vanish."""

    class Vanished(BaseException):
        pass

    def vanish(engine: Engine) -> None:
        if engine.state.epoch == epoch and engine.state.iteration % engine.state.epoch_length == 1:
            raise Vanished

    made = workflow(bundle, "train.json", *deltas, **settings(bundle, folder))
    trainer = made.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, vanish)
    with pytest.raises((Vanished, RuntimeError)):
        made.run()


def weights(folder: Path, name: str = "model_final.pt") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "models" / name, weights_only=True)
    return found


def assert_same(first: Path, second: Path) -> None:
    for name in ("model_final.pt", "model.pt"):
        one, other = weights(first, name), weights(second, name)
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes that are killed: another number of threads adds in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(workflow: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, tuple[str, ...]], Path]:
    """The folder of an uninterrupted training of a method."""
    made: dict[tuple[str, tuple[str, ...]], Path] = {}

    def folder(bundle: str, deltas: tuple[str, ...]) -> Path:
        if (bundle, deltas) not in made:
            made[bundle, deltas] = tmp_path_factory.mktemp("whole")
            train(workflow, bundle, deltas, made[bundle, deltas])
        return made[bundle, deltas]

    return folder


@each_method
def test_a_resumed_training_ends_with_the_same_weights(
    bundle: str, deltas: tuple[str, ...], whole: Callable[..., Path], workflow: Workflow, tmp_path: Path
) -> None:
    cut_off(workflow, bundle, deltas, tmp_path, epoch=3)
    train(workflow, bundle, deltas, tmp_path, resume="latest")
    assert_same(whole(bundle, deltas), tmp_path)
    assert [path.name for path in (tmp_path / "models").glob("training*")] == [f"training_epoch_{EPOCHS:04d}.pt"]


@pytest.mark.parametrize("bundle", SMALL)
def test_a_killed_training_goes_on(bundle: str, whole: Callable[..., Path], cohort: Path, tmp_path: Path) -> None:
    """Killed while it writes as often as not: the watcher strikes as soon as the file of the second epoch is begun."""
    values = {**settings(bundle, tmp_path), "dataset_dir": str(cohort), "device": "cpu", "resume": "latest"}
    command = bundle_command(BUNDLES / bundle, ["train.json"], values)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        while not [*tmp_path.glob("models/*training_epoch_0002*")] and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert_same(whole(bundle, ()), tmp_path)
    assert [path for path in (tmp_path / "models").iterdir() if path.name.startswith(".")] == []


def test_a_damaged_state_is_passed_over(
    whole: Callable[..., Path], workflow: Workflow, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off(workflow, "spine_semiseg", (), tmp_path, epoch=4)
    newest = tmp_path / "models" / "training_epoch_0003.pt"
    newest.write_bytes(newest.read_bytes()[:5000])
    train(workflow, "spine_semiseg", (), tmp_path, resume="latest")
    assert "training_epoch_0003.pt cannot be read" in caplog.text
    assert_same(whole("spine_semiseg", ()), tmp_path)


def test_what_cannot_go_on_is_refused(workflow: Workflow, tmp_path: Path) -> None:
    cut_off(workflow, "spine_semiseg", (), tmp_path, epoch=2)
    state = tmp_path / "models" / "training_epoch_0001.pt"
    before = state.read_bytes()
    for options, message in (
        ({}, "cut off after epoch 1 of 4. Give --resume latest"),
        ({"resume": "latest", "vnet_channels": [8, 8, 16, 32, 64]}, "does not fit this training"),
        ({"resume": str(tmp_path / "none.pt")}, "No training state can be read from"),
    ):
        with pytest.raises((ResumeError, RuntimeError)) as caught:
            train(workflow, "spine_semiseg", (), tmp_path, **options)
        assert message in _told(caught.value)
    with pytest.raises((ResumeError, RuntimeError)) as caught:
        train(workflow, "spine_semiseg", ("sassnet.json",), tmp_path, resume="latest")
    assert "holds no state of" in _told(caught.value)
    assert state.read_bytes() == before


def _told(error: BaseException | None) -> str:
    told = ""
    while error is not None:
        told, error = f"{told} {error}", error.__cause__ or error.__context__
    return told
