from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet

from spinefuse_ext.networks import MinMaxSimilarityNet, ShapeDiscriminator, ShapeSegNet, VNet, each_sub_network


def _shape_net(dims: int = 2, classes: int = 3) -> ShapeSegNet:
    return ShapeSegNet(VNet(dims, 1, 2 * classes - 1, channels=(4, 8)), classes)


def _similarity_net(dims: int = 2, *, train_heads: bool = False) -> MinMaxSimilarityNet:
    unet = UNet(dims, 1, 3, channels=(4, 8), strides=(2,))
    return MinMaxSimilarityNet(unet, VNet(dims, 1, 3, channels=(4, 8)), 3, dims, train_heads=train_heads)


@pytest.mark.parametrize("dims", [2, 3])
def test_shape_net_gives_logits_and_distances_then_probabilities(dims: int) -> None:
    network, image = _shape_net(dims), torch.rand(2, 1, *[16] * dims)
    maps = network(image)
    assert maps["logits"].shape == (2, 3, *[16] * dims)
    assert maps["distance"].shape == (2, 2, *[16] * dims)
    assert maps["distance"].abs().max() <= 1
    torch.testing.assert_close(network.eval()(image).sum(1), torch.ones(2, *[16] * dims))


def test_shape_net_has_a_head_for_each_of_both_tasks() -> None:
    network = _shape_net()
    for kept, wanted in (("logits", slice(0, 3)), ("distance", slice(3, 5))):
        network.zero_grad()
        network(torch.rand(2, 1, 16, 16))[kept].square().sum().backward()
        rows = network.get_parameter("network.head.conv.weight").grad
        assert rows is not None
        touched = rows.abs().sum((1, 2, 3)) > 0
        assert touched.tolist() == [index in range(5)[wanted] for index in range(5)]


def test_shape_net_with_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected 5 channels of the network, for 3 classes .* got 3"):
        ShapeSegNet(VNet(2, 1, 3, channels=(4, 8)), 3)(torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match="num_classes is a whole number of at least 2"):
        ShapeSegNet(torch.nn.Identity(), 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_similarity_net_gives_features_of_the_published_sizes(dims: int) -> None:
    network, image = _similarity_net(dims), torch.rand(2, 1, *[16] * dims)
    maps = network(image)
    shapes = {name: tuple(value.shape) for name, value in maps.items()}
    assert shapes == {
        "logits": (2, 2, 3, *[16] * dims),
        "projection": (2, 2, 16, *[4] * dims),
        "classification": (2, 2, 32, *[2] * dims),
    }
    network.eval()
    torch.testing.assert_close(network(image), network.pair(image))


@pytest.mark.parametrize("train_heads", [False, True])
def test_heads_learn_only_when_asked_and_hand_the_gradient_on(train_heads: bool) -> None:
    network = _similarity_net(train_heads=train_heads)
    maps = network(torch.rand(2, 1, 16, 16))
    (maps["projection"][0].square().sum() + maps["classification"][1].square().sum()).backward()
    heads = [*network.projectors[0].parameters(), *network.classifiers[1].parameters()]
    assert all((weight.grad is not None) is train_heads for weight in heads)
    assert all(weight.grad is not None for weight in network.pair.parameters())
    others = [*network.projectors[1].parameters(), *network.classifiers[0].parameters()]
    assert not any(weight.grad is not None and weight.grad.any() for weight in others)


@pytest.mark.parametrize("make", [_shape_net, _similarity_net])
@pytest.mark.parametrize("dims", [2, 3])
def test_scripted_network_gives_the_same(make: type, dims: int) -> None:
    network = make(dims).eval()
    image = torch.rand(1, 1, *[16] * dims)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (16, 18, 16)])
def test_discriminator_takes_any_size_and_looks_at_both_inputs(size: tuple[int, ...]) -> None:
    network = ShapeDiscriminator(len(size), 2, 1, channels=(4, 8, 8, 8)).eval()
    distance, image = (torch.rand(3, channels, *size, requires_grad=True) for channels in (2, 1))
    logits = network(distance, image)
    assert logits.shape == (3, 2)
    logits[:, 1].sum().backward()
    assert distance.grad is not None
    assert image.grad is not None
    assert distance.grad.abs().sum() > 0
    assert image.grad.abs().sum() > 0


def test_default_discriminator_is_the_published_size() -> None:
    """2 channels in, kernels of 4^3: 64, 64; 128, 256, 512 wide; two outputs."""
    count = sum(weight.numel() for weight in ShapeDiscriminator(3, 1, 1).parameters())
    convolutions = [(1, 64), (1, 64), (64, 128), (128, 256), (256, 512)]
    assert count == sum((narrow * 64 + 1) * wide for narrow, wide in convolutions) + 2 * 513


def test_both_networks_of_the_similarity_pair_can_be_scored() -> None:
    network = MinMaxSimilarityNet(VNet(2, 1, 3, channels=(4, 8)), VNet(2, 1, 3, channels=(4, 8)), 3).eval()
    image = torch.rand(1, 1, 8, 8)
    both = each_sub_network(network).eval()(image)
    assert both.shape == (1, 6, 8, 8)
    torch.testing.assert_close((both[:, :3] + both[:, 3:]) / 2, network(image))
    assert network.output == "mean"
