from __future__ import annotations

import pytest
import torch

from spinefuse_ext.networks import VNet


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_logits_have_the_size_of_the_image(spatial_dims: int, size: tuple[int, ...]) -> None:
    network = VNet(spatial_dims, in_channels=2, out_channels=5, channels=(4, 8, 12, 16, 20))
    assert network(torch.rand(2, 2, *size)).shape == (2, 5, *size)


def test_default_3d_network_is_the_ua_mt_size() -> None:
    count = sum(p.numel() for p in VNet(3, in_channels=1, out_channels=2).parameters())
    assert count == pytest.approx(9.45e6, rel=0.001)  # the published V-Net of UA-MT: 9.45 million


def test_every_parameter_learns() -> None:
    network = VNet(2, channels=(4, 8, 16), dropout=0.0)
    network(torch.rand(2, 1, 16, 16)).square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not dead
    kernels = [p.grad for name, p in network.named_parameters() if name.endswith("conv.weight")]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in kernels)


def test_skip_carries_detail_that_the_bottleneck_cannot() -> None:
    network = VNet(2, channels=(4, 8), dropout=0.0).eval()
    image = torch.rand(1, 1, 16, 16)
    before = network(image)
    with torch.no_grad():
        network.get_parameter("ups.0.conv.weight").zero_()
    changed = image.clone()
    changed[..., 8, 8] += 1
    assert not torch.equal(before, network(image))
    difference = (network(changed) - network(image)).abs().sum((0, 1))
    assert difference[8, 8] > 0
    assert difference[0, 0] == 0  # nothing but the skip is left: 3-wide kernels reach 2 voxels


def test_dropout_acts_in_training_only() -> None:
    network, image = VNet(2, channels=(8, 16), dropout=0.5), torch.rand(1, 1, 16, 16)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_dropout_0_is_no_dropout() -> None:
    network, image = VNet(2, channels=(8, 16), dropout=0.0), torch.rand(1, 1, 16, 16)
    assert torch.equal(network(image), network(image))


def test_norm_and_widths_are_used() -> None:
    network = VNet(2, channels=(3, 6), norm="INSTANCE")
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert network.get_parameter("head.conv.weight").shape == (4, 3, 1, 1)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scripted_network_gives_the_same(spatial_dims: int) -> None:
    network = VNet(spatial_dims, channels=(4, 8, 16)).eval()
    image = torch.rand(1, 1, *[16] * spatial_dims)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 16, got .*40.*Pad the image"):
        VNet()(torch.rand(1, 1, 32, 40))


def test_4_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="spatial_dims 2 or 3, got 4"):
        VNet(4)


def test_one_level_is_refused() -> None:
    with pytest.raises(ValueError, match="channels is a list of at least two widths"):
        VNet(channels=(16,))
