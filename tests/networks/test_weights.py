from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from spinefuse_ext.networks import MeanFusion, load_weights
from spinefuse_ext.networks.weights import fitting_weights
from spinefuse_ext.validation import MissingPathError, WeightsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


@pytest.mark.parametrize("key", [None, "model", "network"])
def test_weights_come_back_from_every_accepted_form(key: str | None, path: Path) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    state = source.state_dict()
    torch.save(state if key is None else {key: state, "epoch": 3}, path)
    load_weights(target, path)
    assert torch.equal(source.weight, target.weight)
    assert torch.equal(source.bias, target.bias)


def test_a_part_of_the_network_called_model_is_not_taken_for_the_wrapper(path: Path) -> None:
    network = nn.ModuleDict({"model": nn.Linear(2, 2)})
    torch.save(network.state_dict(), path)
    assert fitting_weights(network, path).keys() == {"model.weight", "model.bias"}


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        pytest.param(
            nn.Linear(3, 4).state_dict(),
            r"0 of 2 weights are missing, 0 are unknown, 2 have another shape \(for example weight: "
            r"\(4, 3\) in the file, \(2, 3\) here\). It has 4 outputs, this network 2: give as many classes \(labels\)",
            id="another-number-of-classes",
        ),
        pytest.param(
            nn.Linear(5, 2).state_dict(),
            r"1 have another shape \(for example weight: \(2, 5\) in the file, \(2, 3\) here\). "
            "Give the same network_def as in training, or the checkpoint of this network",
            id="another-size",
        ),
        pytest.param(
            nn.Linear(3, 2, bias=False).state_dict(), r"1 of 2 weights are missing.*\(for example bias\)", id="missing"
        ),
        pytest.param(
            {**nn.Linear(3, 2).state_dict(), "extra": torch.zeros(1)},
            r"0 of 2 weights are missing, 1 are unknown.*\(for example extra\)",
            id="unknown",
        ),
        pytest.param({}, "2 of 2 weights are missing", id="empty"),
        pytest.param([1, 2], "is not a checkpoint of tensors; train one first", id="a-list"),
        pytest.param({"weight": 1, "bias": 2}, "is not a checkpoint of tensors", id="numbers"),
    ],
)
def test_another_network_is_refused_and_the_weights_stay(saved: object, message: str, path: Path) -> None:
    torch.save(saved, path)
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    with pytest.raises(WeightsError, match=r"model.pt .*" + message):
        load_weights(network, path)
    assert torch.equal(network.weight, before)


def test_a_network_without_weights_needs_no_checkpoint(path: Path) -> None:
    load_weights(MeanFusion(), path)
    assert not path.exists()
    torch.save({"model": nn.Linear(3, 2).state_dict()}, path)  # one that lies where another network was trained
    assert fitting_weights(MeanFusion(), path) == {}


def test_what_is_no_checkpoint_is_refused(path: Path) -> None:
    path.write_text("not weights")
    with pytest.raises(WeightsError, match=r"model.pt is not a checkpoint of tensors; train one first"):
        load_weights(nn.Linear(3, 2), path)
    with pytest.raises(MissingPathError, match=r"The checkpoint .*absent.pt does not exist"):
        load_weights(nn.Linear(3, 2), path.with_name("absent.pt"))


def test_code_in_a_checkpoint_is_not_run(path: Path, tmp_path: Path) -> None:
    torch.save(_Trap(tmp_path / "sprung"), path)
    with pytest.raises(WeightsError, match="is not a checkpoint of tensors"):
        load_weights(nn.Linear(3, 2), path)
    assert not (tmp_path / "sprung").exists()


class _Trap:
    """Unpickling it with trust creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)
