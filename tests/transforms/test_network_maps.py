from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import nn

from spinefuse_ext.networks import SpineFusionNet, U2FusionNet, modality_contribution, window_inferer
from spinefuse_ext.transforms import ContributionMapd, FeatureMapsd
from spinefuse_ext.validation import ConfigError


def mean_rule(pair: torch.Tensor) -> torch.Tensor:
    return pair.mean(dim=1, keepdim=True)


def only(channel: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda pair: pair[:, channel : channel + 1]


@pytest.fixture
def pair() -> torch.Tensor:
    """A square in the CT on the left, one in the MR on the right, nothing elsewhere."""
    image = torch.zeros(1, 2, 48, 64)
    image[0, 0, 16:32, 8:24] = 1
    image[0, 1, 16:32, 40:56] = 1
    return image


def test_the_share_is_high_where_a_modality_has_structure_and_even_where_neither_has(pair: torch.Tensor) -> None:
    ct, mr = modality_contribution(mean_rule, pair, 3.0)[0]
    assert ct[16, 8:24].min() > 0.9
    assert mr[16, 40:56].min() > 0.9
    torch.testing.assert_close(ct[:4], torch.full_like(ct[:4], 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(mr[24, 16], ct[24, 48])


@pytest.mark.parametrize("shape", [(24, 33), (12, 14, 16)])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_modality_that_is_not_used_has_no_share(shape: tuple[int, ...], channel: int) -> None:
    noise = torch.rand(2, 2, *shape, generator=torch.Generator().manual_seed(0))
    shares = modality_contribution(only(channel), noise, 2.0)
    assert shares.shape == noise.shape
    assert shares[:, channel].min() > 0.75
    assert shares[:, channel].mean() > 0.95


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), sigma_px=st.floats(0.5, 6.0), weight=st.floats(0, 1))
def test_shares_sum_to_one_and_swap_with_the_modalities(seed: int, sigma_px: float, weight: float) -> None:
    pair = torch.rand(1, 2, 17, 12, generator=torch.Generator().manual_seed(seed))
    weights = torch.tensor([weight, 1 - weight]).view(1, 2, 1, 1)
    shares = modality_contribution(lambda x: (x * weights).sum(1, keepdim=True), pair, sigma_px)
    swapped = modality_contribution(lambda x: (x * weights.flip(1)).sum(1, keepdim=True), pair.flip(1), sigma_px)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 17, 12))
    torch.testing.assert_close(swapped.flip(1), shares, atol=1e-5, rtol=1e-5)


def test_a_constant_pair_has_even_shares_up_to_its_border() -> None:
    shares = modality_contribution(only(0), torch.full((1, 2, 20, 20), 0.8), 4.0)
    torch.testing.assert_close(shares, torch.full_like(shares, 0.5), atol=1e-3, rtol=0)


def test_contribution_refuses_what_is_no_pair_and_a_sigma_of_zero() -> None:
    with pytest.raises(ValueError, match="pair of 2 channels"):
        modality_contribution(mean_rule, torch.zeros(1, 3, 8, 8), 2.0)
    with pytest.raises(ValueError, match="sigma_px is a number above 0"):
        modality_contribution(mean_rule, torch.zeros(1, 2, 8, 8), 0)
    with pytest.raises(ConfigError, match="sigma_px is a number above 0, got -1"):
        ContributionMapd("image", SpineFusionNet(2, 8, (1, 1), 2), window_inferer(2, (8, 8), 0), sigma_px=-1)


@pytest.fixture
def network() -> SpineFusionNet:
    torch.manual_seed(0)
    return SpineFusionNet(2, 8, (1, 1), 2)


def test_maps_of_a_volume_are_those_of_its_slices(network: SpineFusionNet) -> None:
    voxels = torch.rand(2, 3, 16, 24)
    volume = MetaTensor(voxels)
    windows = window_inferer(2, (32, 32), 0, sw_batch_size=2)
    data = FeatureMapsd("image", network, windows)(ContributionMapd("image", network, windows)({"image": volume}))
    network.eval()
    with torch.no_grad():
        for index in range(3):
            pair = voxels[None, :, index]
            expected = [branch.abs().mean(1)[0] for branch in network.encode(pair)]
            torch.testing.assert_close(data["features"][:, index].as_tensor(), torch.stack(expected))
            shares = modality_contribution(network, pair, 4.0)[0]
            torch.testing.assert_close(data["contribution"][:, index].as_tensor(), shares)


def test_a_slice_without_mr_depends_on_the_ct_alone_and_not_on_the_network(network: SpineFusionNet) -> None:
    image = torch.rand(2, 3, 16, 24)
    image[1, 1] = 0
    windows = window_inferer(2, (32, 32), 0)
    shares = ContributionMapd("image", network, windows)({"image": image})["contribution"]
    copied = modality_contribution(lambda pair: pair[:, :1], image[None, :, 1], 4.0)[0]
    torch.testing.assert_close(shares[:, 1], copied)
    assert (shares[0, 1] > 0.5).all()
    fused = modality_contribution(network.eval(), image[None, :, 0], 4.0)[0].detach()
    torch.testing.assert_close(shares[:, 0], fused)


def test_the_network_is_used_in_evaluation_mode_without_gradients_and_left_as_it_was(network: SpineFusionNet) -> None:
    modes: list[tuple[bool, bool]] = []
    network.register_forward_pre_hook(lambda module, _: modes.append((module.training, torch.is_grad_enabled())))
    network.train()
    done = ContributionMapd("image", network, window_inferer(2, (16, 16), 2), name="share")(
        {"image": torch.rand(2, 16, 16, 1)}
    )
    assert modes == [(False, False)] * 3
    assert network.training
    assert set(done) == {"image", "share"}


def test_3d_networks_are_seen_in_blocks() -> None:
    network = SpineFusionNet(3, 8, (1, 1), 2)
    inferer = window_inferer(3, (8, 8, 8), 0, sw_batch_size=2)
    data = ContributionMapd("image", network, inferer)({"image": torch.rand(2, 8, 8, 12)})
    torch.testing.assert_close(data["contribution"].sum(0), torch.ones(8, 8, 12))
    assert FeatureMapsd("image", network, inferer)(data)["features"].shape == (4, 8, 8, 12)


def test_a_network_without_branches_has_no_feature_maps() -> None:
    with pytest.raises(ConfigError, match="U2FusionNet has no base and detail features; leave save_features off"):
        FeatureMapsd("image", U2FusionNet(growth=4, dense_layers=1), window_inferer(2, (8, 8), 0))


@pytest.mark.parametrize("kind", [ContributionMapd, FeatureMapsd])
def test_one_name_means_one_key(kind: type[ContributionMapd] | type[FeatureMapsd], network: nn.Module) -> None:
    with pytest.raises(ValueError, match="Expected one key"):
        kind(["image", "other"], network, window_inferer(2, (8, 8), 0))
