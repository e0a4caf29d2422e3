"""What is saved is readable on a machine without a GPU, with any tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from ignite.engine import Engine
from monai.engines import Trainer
from torch import nn

from spinefuse_ext.handlers import AtomicCheckpointSaver, TrainingStateHandler
from spinefuse_ext.handlers.checkpoints import on_cpu, save_whole, stored_devices


class OfGpu(torch.Tensor):
    """Stands for a tensor of a GPU: a file with one in it is no plain checkpoint, until it went through ``cpu``."""

    def cpu(self, *args: Any, **options: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor).clone()


class Network(nn.Linear):
    """A layer whose weights, and whose optimiser's memory, lie on the stand-in of a GPU."""

    def state_dict(self, *args: Any, **options: Any) -> Any:
        state = super().state_dict(*args, **options)
        for name in state:
            state[name] = state[name].clone().as_subclass(OfGpu)
        return state


class Optimizer(torch.optim.SGD):
    def state_dict(self) -> dict[str, Any]:
        return {"state": {0: {"step": torch.ones(2).as_subclass(OfGpu), "list": [torch.ones(1).as_subclass(OfGpu)]}}}


def test_the_stand_in_is_noticed(tmp_path: Path) -> None:
    torch.save(Network(2, 1).state_dict(), tmp_path / "model.pt")
    with pytest.raises(Exception, match="OfGpu"):
        torch.load(tmp_path / "model.pt", weights_only=True)


def test_checkpoints_and_training_states_are_of_the_cpu(tmp_path: Path) -> None:
    network = Network(2, 1)
    optimizer = Optimizer(network.parameters(), lr=0.1)
    engine = Engine(lambda engine, batch: None)
    AtomicCheckpointSaver(
        str(tmp_path), {"model": network, "optimizer": optimizer}, save_final=True, final_filename="final.pt"
    ).attach(engine)
    TrainingStateHandler(save_dir=tmp_path, objects={"network": network, "optimizer": optimizer}).attach(
        cast(Trainer, engine)
    )
    engine.run([0], max_epochs=1)
    for path in (tmp_path / "final.pt", tmp_path / "training_epoch_0001.pt"):
        saved = torch.load(path, weights_only=True)
        assert stored_devices(path) == {"cpu"}
        state = saved.get("model") or saved["objects"]["network"]
        assert torch.equal(state["weight"], network.weight)


def test_everything_else_stays_as_it_is() -> None:
    state = nn.BatchNorm1d(2).state_dict()
    nested = {"a": [1, "b", None, (torch.ones(1),)], "c": state}
    moved = on_cpu(nested)
    assert moved["a"][:3] == [1, "b", None]
    assert type(moved["a"][3]) is tuple
    assert type(moved["c"]) is type(state)
    assert moved["c"]._metadata == state._metadata  # type: ignore[attr-defined]
    assert moved["c"]["weight"].data_ptr() == state["weight"].data_ptr()


def test_the_device_that_a_file_was_saved_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_whole({"model": nn.Linear(1, 1).state_dict()}, tmp_path / "cpu.pt")
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:1")
    torch.save({"model": nn.Linear(1, 1).state_dict()}, tmp_path / "gpu.pt")
    assert stored_devices(tmp_path / "cpu.pt") == {"cpu"}
    assert stored_devices(tmp_path / "gpu.pt") == {"cuda:1"}


@pytest.mark.parametrize("bundle", ["spine_fusion", "spine_semiseg"])
def test_shipped_weights_are_of_the_cpu_and_nothing_but_weights(bundle: str) -> None:
    path = Path(__file__).parents[2] / "bundles" / bundle / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    assert stored_devices(path) == {"cpu"}
    assert all(isinstance(value, torch.Tensor) and value.is_contiguous() for value in state.values())
