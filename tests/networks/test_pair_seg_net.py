from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import UNet
from torch import nn

from spinefuse_ext.networks import (
    BlendFusionNet,
    MaxFusion,
    PairChannels,
    PairSegNet,
    SpineFusionNet,
    load_weights,
)
from spinefuse_ext.validation import ConfigError


def tiny_fusion() -> SpineFusionNet:
    return SpineFusionNet(2, 8, (1, 1), 2, output="correction")


def unet(in_channels: int) -> UNet:
    return UNet(2, in_channels, 3, channels=(4, 8, 16), strides=(2, 2))


def pair_net(channels: PairChannels) -> PairSegNet:
    return PairSegNet(channels, unet(channels.out_channels), unet(channels.out_channels))


@pytest.mark.parametrize(
    ("names", "fusion", "count"),
    [
        (["ct", "mr"], None, 2),
        (["mr", "present", "ct"], None, 4),
        (["fused"], MaxFusion(), 1),
        (["fused", "share"], BlendFusionNet(2, 2, 4), 2),
        (["ct", "mr", "present", "fused", "base", "detail"], tiny_fusion(), 5 + 4 * 8),
    ],
)
def test_the_channels_come_in_their_order(names: list[str], fusion: nn.Module | None, count: int) -> None:
    channels = PairChannels(names, fusion).eval()
    x = torch.rand(2, 2, 32, 40)
    seen = channels(x)
    assert channels.out_channels == count
    assert seen.shape == (2, count, 32, 40)
    for name, place in (("ct", 0), ("mr", 1)):
        if name in names and "present" not in names[: names.index(name)]:
            torch.testing.assert_close(seen[:, names.index(name)], x[:, place])


def test_a_missing_image_is_said_and_not_made_up() -> None:
    channels = PairChannels(["ct", "mr", "present", "fused"], BlendFusionNet(2, 2, 4)).eval()
    x = torch.rand(3, 2, 32, 32)
    x[1, 0], x[2, 1] = 0, 0
    seen = channels(x)
    torch.testing.assert_close(seen[:, :2], x)
    assert seen[:, 2:4].amax((2, 3)).tolist() == [[1, 1], [0, 1], [1, 0]]
    assert torch.equal(seen[:, 2:4].amin((2, 3)), seen[:, 2:4].amax((2, 3)))
    torch.testing.assert_close(seen[1, 4], x[1, 1])  # the image that is there
    torch.testing.assert_close(seen[2, 4], x[2, 0])


def test_the_loss_of_the_segmentation_reaches_a_fusion_that_learns_and_no_other() -> None:
    x = torch.rand(2, 2, 32, 32)
    learning = pair_net(PairChannels(["fused"], BlendFusionNet(2, 2, 4), learns=True)).train()
    result = learning(x)
    assert result["logits"].shape == (2, 2, 3, 32, 32)
    assert result["fused"].shape == (1, 2, 1, 32, 32)
    result["logits"].sum().backward()
    assert all(weight.grad is not None for weight in learning.channels.fusion.parameters())  # type: ignore[union-attr]
    frozen = pair_net(PairChannels(["fused"], BlendFusionNet(2, 2, 4))).train()
    assert frozen(x).shape == (2, 2, 3, 32, 32)
    assert not any(weight.requires_grad for weight in frozen.channels.parameters())
    assert not frozen.channels.fusion.training  # type: ignore[union-attr]


def test_to_build_it_draws_nothing_and_leaves_it_ready_to_train() -> None:
    torch.manual_seed(3)
    drawn = torch.rand(2)
    fusion = MaxFusion()
    torch.manual_seed(3)
    channels = PairChannels(["ct", "fused"], fusion)
    torch.testing.assert_close(torch.rand(2), drawn)
    assert channels.training


def test_in_evaluation_it_is_a_pair_of_networks() -> None:
    network = pair_net(PairChannels(["fused"], BlendFusionNet(2, 2, 4), learns=True)).eval()
    x = torch.rand(1, 2, 32, 32)
    each = network.each(x).unflatten(1, (2, 3))
    torch.testing.assert_close(network(x), each.mean(1))


@settings(deadline=None, max_examples=10)
@given(st.integers(17, 40), st.integers(17, 40), st.sampled_from(["ct", "mr", "both"]))
def test_any_size_and_either_image(height: int, width: int, there: str) -> None:
    x = torch.rand(1, 2, height, width)
    x[:, 1 if there == "ct" else 0] *= there == "both"
    channels = PairChannels(["ct", "mr", "present", "fused"], BlendFusionNet(2, 2, 4)).eval()
    seen = channels(x)
    assert seen.shape == (1, 5, height, width)
    assert torch.isfinite(seen).all()


def test_the_fusion_inside_can_be_used_by_itself(tmp_path: Path) -> None:
    network = pair_net(PairChannels(["fused"], BlendFusionNet(2, 2, 4), learns=True))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    alone = BlendFusionNet(2, 2, 4)
    load_weights(alone, tmp_path / "model.pt")
    x = torch.rand(1, 2, 32, 32)
    torch.testing.assert_close(alone(x), network.eval().channels(x))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"names": ["ct", "pet"]}, "expected some of ct, mr, present, fused, base, detail, share, each once"),
        ({"names": ["ct", "ct"]}, "each once"),
        ({"names": []}, "expected some of"),
        ({"names": ["fused"]}, "The channels fused come from a fusion network"),
        ({"names": ["base"], "fusion": MaxFusion()}, "A MaxFusion has no channel base"),
        ({"names": ["ct"], "fusion": BlendFusionNet(2, 2, 4), "learns": True}, "must be seen"),
    ],
)
def test_channels_that_cannot_be_are_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PairChannels(**arguments)  # type: ignore[arg-type]


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match="are 4, but the network takes 2; set in_channels to 4"):
        PairSegNet(PairChannels(["ct", "mr", "present"]), unet(2), unet(2))
