from __future__ import annotations

import shutil
import sys

import pytest
import torch
from torch import nn

from spinefuse_ext.networks import VNet, to_device


def test_the_network_itself_is_placed() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    assert to_device(network, torch.device("meta")) is network
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


@pytest.mark.parametrize(("device", "asked"), [("cpu", 1), (torch.device("cpu"), 1), ("meta", 0)])
def test_freed_memory_is_kept_on_a_cpu_only(
    device: torch.device | str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    module = sys.modules[to_device.__module__]  # the package shows the function under the module's name
    monkeypatch.setattr(module, "keep_freed_memory", lambda: calls.append(None))
    to_device(nn.Linear(3, 2), device)
    assert len(calls) == asked


def test_compiling_touches_every_child_and_keeps_the_names_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    names = list(network.state_dict())
    assert to_device(network, "cpu") is network
    assert compiled == []
    to_device(network, "cpu", compile=True)
    assert compiled == list(network.children())
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("dims", [2, 3])
def test_every_feature_has_its_channels_last_even_that_of_the_first_convolution(dims: int) -> None:
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    network = VNet(dims, 1, 3, channels=(4, 8, 8))
    x = torch.rand(2, 1, *[8] * dims)
    expected = network.eval()(x)
    placed = to_device(network, "cpu", channels_last=True)
    features: list[torch.Tensor] = []
    for module in placed.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.register_forward_hook(lambda module, x, feature: features.append(feature))
    torch.testing.assert_close(placed(x), expected, atol=1e-5, rtol=1e-4)
    assert len(features) > 3
    assert [feature.shape for feature in features if not feature.is_contiguous(memory_format=layout)] == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_computes_the_same() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).eval()
    x = torch.rand(5, 3)
    expected = network(x)
    torch.testing.assert_close(to_device(network, "cpu", compile=True)(x), expected)
