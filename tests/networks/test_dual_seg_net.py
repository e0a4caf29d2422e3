from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from torch import nn

from spinefuse_ext.networks import DualSegNet, SingleSegNet, VNet


def _pair(spatial_dims: int = 2, output: str = "mean") -> DualSegNet:
    unet = UNet(spatial_dims, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    return DualSegNet(unet, VNet(spatial_dims, 1, 3, channels=(4, 8, 16)), output)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_training_gives_both_logits_and_evaluation_one_probability(spatial_dims: int) -> None:
    network, image = _pair(spatial_dims), torch.rand(2, 1, *[16] * spatial_dims)
    assert network.train()(image).shape == (2, 2, 3, *image.shape[2:])
    probability = network.eval()(image)
    torch.testing.assert_close(probability.sum(1), torch.ones(2, *image.shape[2:]))


@pytest.mark.parametrize("output", ["mean", "unet", "vnet"])
def test_evaluation_gives_the_chosen_network(output: str) -> None:
    network, image = _pair(output=output).eval(), torch.rand(1, 1, 16, 16)
    first, second = network.unet(image).softmax(1), network.vnet(image).softmax(1)
    expected = {"mean": (first + second) / 2, "unet": first, "vnet": second}[output]
    torch.testing.assert_close(network(image), expected)


def test_training_logits_are_in_the_order_unet_vnet() -> None:
    network, image = DualSegNet(nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)), torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(network(image), torch.stack((network.unet(image), network.vnet(image))))


@pytest.mark.parametrize("output", ["mean", "unet", "vnet"])
def test_scripted_pair_gives_the_same(output: str) -> None:
    network, image = _pair(output=output).eval(), torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_unknown_output_is_refused_with_the_options() -> None:
    with pytest.raises(ValueError, match="mean"):
        _pair(output="both")


def test_config_nests_both_networks() -> None:
    config = {
        "net": {
            "_target_": "spinefuse_ext.networks.DualSegNet",
            "unet": {
                "_target_": "UNet",
                "spatial_dims": 2,
                "in_channels": 1,
                "out_channels": 2,
                "channels": [4, 8],
                "strides": [2],
            },
            "vnet": {"_target_": "spinefuse_ext.networks.VNet", "out_channels": 2, "channels": [4, 8]},
        }
    }
    network = ConfigParser(config).get_parsed_content("net")
    assert network(torch.rand(1, 1, 16, 16)).shape == (2, 1, 2, 16, 16)


def test_single_network_keeps_the_contract() -> None:
    inner = nn.Conv2d(1, 3, 1)
    network, image = SingleSegNet(inner), torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(network(image), inner(image)[None])
    torch.testing.assert_close(network.eval()(image), inner(image).softmax(1))
