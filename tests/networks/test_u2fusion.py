from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from spinefuse_ext.networks import U2FusionNet


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (15, 12)), (2, (2, 7)), (3, (5, 9, 6))])
def test_fusion_has_the_size_of_the_pair_and_stays_in_range(spatial_dims: int, size: tuple[int, ...]) -> None:
    network = U2FusionNet(spatial_dims, growth=4, head_channels=(8, 4))
    fused = network(torch.rand(2, 2, *size))
    assert fused.shape == (2, 1, *size)
    assert 0 <= fused.min() <= fused.max() <= 1


def test_defaults_have_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in U2FusionNet().parameters()) == 659_217


def test_sizes_are_used() -> None:
    network = U2FusionNet(2, growth=3, dense_layers=2, head_channels=(5,))
    weights = {name: tuple(p.shape[:2]) for name, p in network.named_parameters() if name.endswith("weight")}
    assert list(weights.values()) == [(3, 2), (3, 3), (3, 6), (5, 9), (1, 5)]


def literal_forward(network: U2FusionNet, pair: torch.Tensor) -> torch.Tensor:
    """Layer by layer as published: mirrored border, slope 0.2 after all but the last, new channels first."""
    parameters = list(network.parameters())
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))

    def layer(x: torch.Tensor, number: int) -> torch.Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), *layers[number])

    x = F.leaky_relu(layer(pair, 0), 0.2)
    for number in range(1, 6):
        x = torch.cat((F.leaky_relu(layer(x, number), 0.2), x), dim=1)
    for number in range(6, 9):
        x = F.leaky_relu(layer(x, number), 0.2)
    return (torch.tanh(layer(x, 9)) + 1) / 2


def test_network_equals_the_published_layers() -> None:
    network, pair = U2FusionNet(growth=6, head_channels=(8, 6, 4)), torch.rand(1, 2, 13, 11)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.testing.assert_close(network(pair), literal_forward(network, pair))


def test_initial_weights_are_a_truncated_normal_and_biases_zero() -> None:
    network = U2FusionNet()
    weights = torch.cat([p.flatten() for p in network.parameters() if p.ndim > 1])
    assert weights.abs().max() <= 0.1
    assert weights.std().item() == pytest.approx(0.05 * 0.8796, rel=0.01)  # normal cut at two deviations
    assert all(not p.any() for p in network.parameters() if p.ndim == 1)


def test_every_parameter_learns_from_both_sources() -> None:
    network, pair = U2FusionNet(growth=4, head_channels=(6, 4)), torch.rand(2, 2, 9, 9, requires_grad=True)
    network(pair).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())
    assert pair.grad is not None
    assert pair.grad.flatten(2).any(2).all()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scripted_network_gives_the_same(spatial_dims: int) -> None:
    network = U2FusionNet(spatial_dims, growth=3, head_channels=(4,)).eval()
    pair = torch.rand(1, 2, *(7, 6, 5)[:spatial_dims])
    torch.testing.assert_close(torch.jit.script(network)(pair), network(pair))


def test_images_that_are_no_pair_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 channels, CT and MR, got an image of shape \[1, 1, 8, 8\]"):
        U2FusionNet(growth=2)(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="spatial_dims 2 or 3, got 1"):
        U2FusionNet(spatial_dims=1)
