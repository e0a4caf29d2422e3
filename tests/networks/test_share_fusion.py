"""What holds for every network that predicts the share of CT and MR at each scale, and what sets the two apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefuse_ext.networks import BlendFusionNet, SelectionFusionNet
from spinefuse_ext.networks.share_fusion import ShareFusionNet
from spinefuse_ext.validation import ConfigError

MODELS = Path(__file__).parents[2] / "bundles" / "spine_fusion" / "models"
Kind = type[BlendFusionNet] | type[SelectionFusionNet]

each_kind = pytest.mark.parametrize("kind", [BlendFusionNet, SelectionFusionNet])
every_size = pytest.mark.parametrize("size", [(33, 46), (1, 5), (24, 17, 9), (3, 2, 1)], ids=str)


def _uneven(kind: Kind, spatial_dims: int = 2, **options: int) -> ShareFusionNet:
    """A network whose shares differ from voxel to voxel."""
    network = kind(spatial_dims, **options).eval()
    for level in network.guidance:
        torch.nn.init.normal_(level.share.weight, std=2.0)
    return network


def _edge(low: float, high: float) -> torch.Tensor:
    return torch.where(torch.arange(64) < 32, low, high).expand(1, 1, 64, 64)


@each_kind
@every_size
def test_fuses_any_size_and_lies_between_both_scans_everywhere(kind: Kind, size: tuple[int, ...]) -> None:
    pair = torch.cat((torch.rand(2, 1, *size).round(), torch.rand(2, 1, *size)), 1)  # what overshoots most
    fused = _uneven(kind, len(size))(pair)
    assert fused.shape == (2, 1, *size)
    assert (fused >= pair.amin(1, keepdim=True)).all()
    assert (fused <= pair.amax(1, keepdim=True)).all()


@each_kind
@every_size
def test_two_equal_sources_are_their_own_fusion(kind: Kind, size: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, *size)
    torch.testing.assert_close(_uneven(kind, len(size))(image.repeat_interleave(2, 1)), image, atol=2e-6, rtol=0)


@each_kind
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), ct=st.floats(-2, 2), mr=st.floats(-2, 2))
def test_with_given_shares_the_blend_is_linear_in_the_sources(kind: Kind, seed: int, ct: float, mr: float) -> None:
    torch.manual_seed(seed)
    network, pair = _uneven(kind).double(), torch.rand(1, 2, 21, 30, dtype=torch.float64)
    shares = network.shares(pair)
    of_ct, of_mr = (network.blend(pair * torch.tensor(held).view(1, 2, 1, 1), shares) for held in ([1, 0], [0, 1]))
    mixed = network.blend(pair * torch.tensor([ct, mr], dtype=torch.float64).view(1, 2, 1, 1), shares)
    torch.testing.assert_close(mixed, ct * of_ct + mr * of_mr)
    held = torch.minimum(torch.maximum(of_ct + of_mr, pair.amin(1, keepdim=True)), pair.amax(1, keepdim=True))
    torch.testing.assert_close(network(pair), held)


@each_kind
def test_shares_of_one_scan_alone_give_that_scan(kind: Kind) -> None:
    network, pair = _uneven(kind), torch.rand(1, 2, 20, 23)
    for channel, share in ((0, 1.0), (1, 0.0)):
        alone = [torch.full_like(each, share) for each in network.shares(pair)]
        torch.testing.assert_close(network.blend(pair, alone), pair[:, channel : channel + 1], atol=2e-6, rtol=0)


@each_kind
def test_what_is_flat_in_both_scans_stays_flat(kind: Kind) -> None:
    """No structure is invented: the fused edge lies where the scans have one, the rest is as flat as theirs."""
    pair = torch.cat((_edge(0.2, 0.9), _edge(0.6, 0.6)), 1)
    network = _uneven(kind, levels=2)
    shares = [torch.full_like(share, 0.4) for share in network.shares(pair)]
    fused = network.blend(pair, shares)
    torch.testing.assert_close(fused, 0.4 * pair[:, :1] + 0.6 * pair[:, 1:])


@each_kind
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_weight_and_both_sources_get_a_gradient(kind: Kind, spatial_dims: int) -> None:
    network = _uneven(kind, spatial_dims, levels=2)
    pair = torch.rand(2, 2, *(20, 18, 12)[:spatial_dims], requires_grad=True)
    network(pair).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())
    assert pair.grad is not None
    assert pair.grad.flatten(2).any(2).all()


@each_kind
@pytest.mark.parametrize("size", [(19, 16), (9, 12, 7)])
def test_scripted_network_gives_the_same(kind: Kind, size: tuple[int, ...]) -> None:
    network, pair = _uneven(kind, len(size)), torch.rand(1, 2, *size)
    torch.testing.assert_close(torch.jit.script(network)(pair), network(pair))


@each_kind
def test_images_of_a_batch_do_not_mix_and_a_far_change_is_not_felt(kind: Kind) -> None:
    network, pair = _uneven(kind), torch.rand(2, 2, 256, 64)
    fused = network(pair)
    torch.testing.assert_close(network(pair[1:]), fused[1:])
    other = pair.clone()
    other[..., 240:, :] = 0
    torch.testing.assert_close(network(other)[..., :64, :], fused[..., :64, :])


@each_kind
def test_bfloat16_is_close_to_float32(kind: Kind) -> None:
    network, pair = _uneven(kind), torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        full = network(pair)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(pair)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.05, rtol=0)


@each_kind
@pytest.mark.parametrize("name", ["levels", "channels"])
def test_wrong_sizes_are_refused(kind: Kind, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is a whole number of at least 1, got 0"):
        kind(**{name: 0})


@each_kind
def test_refuses_what_is_no_pair(kind: Kind) -> None:
    with pytest.raises(ValueError, match=r"2 channels, CT and MR, got an image of shape \[1, 3, 8, 8\]"):
        kind()(torch.rand(1, 3, 8, 8))


def test_there_is_a_share_for_each_scale_and_both_have_about_a_half_at_first() -> None:
    shares = BlendFusionNet(levels=3).shares(torch.rand(1, 2, 40, 41))
    assert [tuple(share.shape[2:]) for share in shares] == [(40, 41), (20, 21), (10, 11), (5, 6)]
    assert all(((share > 0.3) & (share < 0.7)).all() for share in shares)


def test_there_is_a_share_for_each_scale_and_equal_details_have_a_half_each_at_first() -> None:
    shares = SelectionFusionNet(levels=3).shares(torch.rand(1, 1, 40, 41).repeat(1, 2, 1, 1))
    assert [tuple(share.shape[2:]) for share in shares] == [(40, 41), (20, 21), (10, 11), (5, 6)]
    assert all(((share > 0.3) & (share < 0.7)).all() for share in shares)


@pytest.mark.parametrize("channel", [0, 1])
def test_detail_of_one_scan_is_not_halved_where_the_other_is_flat(channel: int) -> None:
    """Stripes of one voxel, 0.1 above and below a grey that the other scan has everywhere."""
    stripes = 0.5 + 0.1 * (-1.0) ** torch.arange(64).expand(1, 1, 64, 64)
    pair = torch.full((1, 2, 64, 64), 0.5)
    pair[:, channel] = stripes[:, 0]
    fused = SelectionFusionNet()(pair)
    assert (fused - stripes)[..., 8:-8, 8:-8].abs().max() < 0.01


def test_white_bone_has_a_white_surface_and_shows_the_mr_inside() -> None:
    y, x = torch.meshgrid(torch.arange(64.0) - 32, torch.arange(64.0) - 32, indexing="ij")
    distance = (y.square() + x.square()).sqrt()
    pair = torch.stack((torch.where(distance < 20, 1.0, 0.2), 0.3 + 0.2 * torch.sin(y / 2)))[None]
    fused = SelectionFusionNet()(pair)[0, 0]
    inside, rim = distance < 15, (distance > 18) & (distance < 19.5)
    assert fused[rim].mean() > 0.85 > fused[inside].mean() > 0.6
    assert torch.corrcoef(torch.stack((fused[inside], pair[0, 1][inside])))[0, 1] > 0.9
    assert fused[inside].std() > 0.3 * pair[0, 1][inside].std()


@pytest.mark.parametrize(
    "network", [BlendFusionNet(weights=MODELS / "blend.pt"), SelectionFusionNet(weights=MODELS / "selection.pt")]
)
def test_neighbouring_slices_do_not_flicker(network: ShareFusionNet) -> None:
    """From slice to slice the fused image changes no more than the scan that changes more."""
    torch.manual_seed(0)
    noise = torch.randn(2, 1, 24, 72, 72)
    for _ in range(3):
        noise = torch.nn.functional.avg_pool3d(noise, 5, 1)
    slices = (0.5 + 3 * noise[:, 0]).clamp(0, 1).movedim(0, 1)
    with torch.no_grad():
        fused = network(slices)
    change = slices.diff(dim=0).abs().mean((0, 2, 3))
    assert fused.diff(dim=0).abs().mean() < 1.05 * change.max()
