from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import CheckpointLoader
from monai.networks import copy_model_state
from monai.networks.nets import UNet
from torch import nn

from spinefuse_ext.networks import (
    DualSegNet,
    MaxFusion,
    MeanTeacherNet,
    MinMaxSimilarityNet,
    ShapeSegNet,
    SingleSegNet,
    SpineFusionNet,
    U2FusionNet,
    VNet,
    check_loaded,
    each_sub_network,
    place,
    start_from,
)
from spinefuse_ext.validation import MissingPathError, WeightsError

ABSENT = "absent/model.pt"


def unet(channels: int = 3) -> nn.Module:
    return UNet(2, 1, channels, channels=(4, 8), strides=(2,))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "SpineFusionNet": lambda **more: SpineFusionNet(2, 4, (1, 1), 2, **more),
    "U2FusionNet": lambda **more: U2FusionNet(2, 2, 1, (2,), **more),
    "DualSegNet": lambda **more: DualSegNet(unet(), VNet(2, 1, 3, channels=(4, 8)), **more),
    "SingleSegNet": lambda **more: SingleSegNet(unet(), **more),
    "MeanTeacherNet": lambda **more: MeanTeacherNet(SingleSegNet(unet()), **more),
    "MinMaxSimilarityNet": lambda **more: MinMaxSimilarityNet(unet(), VNet(2, 1, 3, channels=(4, 8)), 3, **more),
    "ShapeSegNet": lambda **more: ShapeSegNet(unet(5), 3, **more),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def image(name: str) -> torch.Tensor:
    return torch.rand(1, 2 if name in ("SpineFusionNet", "U2FusionNet") else 1, 16, 16)


def same(network: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


@each_network
def test_a_network_comes_with_the_weights_that_it_is_given(name: str, tmp_path: Path) -> None:
    trained = NETWORKS[name]()
    torch.save({"model": trained.state_dict()}, tmp_path / "model.pt")
    network = NETWORKS[name](weights=tmp_path / "model.pt").eval()
    assert same(check_loaded(network), trained.state_dict())
    assert torch.equal(network(image(name) * 0), trained.eval()(image(name) * 0))


@each_network
def test_a_network_without_its_weights_refuses_to_run_until_they_are_loaded(name: str) -> None:
    trained, network = NETWORKS[name]().eval(), NETWORKS[name](weights=ABSENT)
    for mode in (True, False):
        with pytest.raises(WeightsError, match=r"no trained weights.*The checkpoint absent/model\.pt does not exist"):
            network.train(mode)(image(name))
    with pytest.raises(MissingPathError, match=r"The checkpoint absent/model\.pt does not exist"):
        check_loaded(network)
    network.load_state_dict(trained.state_dict())
    pair = image(name)
    assert torch.equal(check_loaded(network)(pair), trained(pair))


def test_weights_of_another_network_are_named_as_the_reason(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"no trained weights.*model\.pt belongs to another network"):
        SingleSegNet(unet(), weights=tmp_path / "model.pt")(torch.rand(1, 1, 16, 16))


def test_a_part_of_the_weights_does_not_lift_the_refusal() -> None:
    network = SingleSegNet(unet(), weights=ABSENT)
    network.load_state_dict({}, strict=False)
    network.load_state_dict(dict(list(network.state_dict().items())[:-1]), strict=False)
    with pytest.raises(WeightsError, match="no trained weights"):
        network(torch.rand(1, 1, 16, 16))


@pytest.mark.parametrize("load", [copy_model_state, lambda to, state: to.load_state_dict(state, strict=False)])
def test_whoever_loads_the_weights_lifts_the_refusal(load: Callable[..., Any]) -> None:
    network = SingleSegNet(unet(), weights=ABSENT)
    load(network, SingleSegNet(unet()).state_dict())
    assert network.eval()(torch.rand(1, 1, 16, 16)).shape == (1, 3, 16, 16)


def test_a_copy_is_refused_and_released_by_itself() -> None:
    network = SingleSegNet(unet(), weights=ABSENT)
    other = copy.deepcopy(network)
    network.load_state_dict(SingleSegNet(unet()).state_dict())
    network(torch.rand(1, 1, 16, 16))
    with pytest.raises(WeightsError, match="no trained weights"):
        other(torch.rand(1, 1, 16, 16))
    other.load_state_dict(network.state_dict())
    other(torch.rand(1, 1, 16, 16))


def test_both_sub_networks_refuse_too() -> None:
    pair = NETWORKS["DualSegNet"](weights=ABSENT)
    both = each_sub_network(pair).eval()
    with pytest.raises(MissingPathError, match=r"absent/model\.pt does not exist"):
        both(torch.rand(1, 1, 16, 16))
    both.load_state_dict(NETWORKS["DualSegNet"]().state_dict())
    assert both(torch.rand(1, 1, 16, 16)).shape == (1, 6, 16, 16)


@pytest.mark.parametrize("compile", [False, True])
def test_placing_loads_what_the_network_does_not_load_itself(tmp_path: Path, compile: bool) -> None:
    trained = unet()
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    assert same(place(unet(), "cpu", channels_last=True, weights=tmp_path / "model.pt"), trained.state_dict())
    with pytest.raises(WeightsError, match="no trained weights"):
        place(unet(), "cpu", compile, weights=ABSENT)(torch.rand(1, 1, 16, 16))


def test_weights_that_are_in_already_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(unet().state_dict(), tmp_path / "model.pt")
    network = unet()
    start_from(network, tmp_path / "model.pt")
    changed = {name: weight + 1 for name, weight in network.state_dict().items()}
    network.load_state_dict(changed)
    monkeypatch.setattr(torch, "load", None)
    assert same(place(network, "cpu", weights=str(tmp_path / "model.pt")), changed)


def test_a_rule_needs_no_weights_and_none_ask_for_none() -> None:
    pair = torch.rand(1, 2, 8, 8)
    assert torch.equal(place(MaxFusion(), "cpu", weights=ABSENT)(pair), pair.amax(1, keepdim=True))
    assert place(unet(), "cpu", weights=None)(torch.rand(1, 1, 16, 16)).shape == (1, 3, 16, 16)


def test_a_network_is_scripted_once_its_weights_are_loaded() -> None:
    network = NETWORKS["DualSegNet"](weights=ABSENT)
    network.load_state_dict(NETWORKS["DualSegNet"]().state_dict())
    scripted, sample = torch.jit.script(network.eval()), torch.rand(1, 1, 16, 16)
    assert torch.equal(scripted(sample), network(sample))


def test_monais_checkpoint_loader_gives_the_weights_when_the_run_starts(tmp_path: Path) -> None:
    trained, network = SingleSegNet(unet()), SingleSegNet(unet(), weights=ABSENT)
    torch.save({"model": trained.state_dict()}, tmp_path / "model.pt")
    loader = CheckpointLoader(str(tmp_path / "model.pt"), {"model": network})
    data = [{"image": torch.rand(1, 1, 16, 16)}]
    SupervisedEvaluator(torch.device("cpu"), data, network, decollate=False, val_handlers=[loader]).run()
    assert same(network, trained.state_dict())
