from __future__ import annotations

import logging

import pytest
import torch

from spinefuse_ext.networks import CopyWithoutMRInferer, SingleModality, SpineFusionNet, copy_without_mr, window_inferer


@pytest.fixture
def network() -> SpineFusionNet:
    torch.manual_seed(0)
    return SpineFusionNet(2, 8, (1, 1), 2).eval()


@pytest.fixture
def pair() -> torch.Tensor:
    """Five slices of which the first, the third and the fourth show no MR; the second shows one voxel of it."""
    torch.manual_seed(1)
    volume = torch.rand(1, 2, 5, 12, 10)
    volume[:, 1, :4] = 0
    volume[:, 1, 2] = 1e-7 * torch.rand(12, 10)  # as resampling leaves it beside the field
    volume[:, 1, 1, 3, 4] = 0.7
    return volume


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_slices_without_mr_are_the_ct_and_the_others_what_the_network_makes_of_them(
    network: SpineFusionNet, pair: torch.Tensor, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    network.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    windows = window_inferer(2, (16, 16), 0, sw_batch_size=batch)
    with torch.inference_mode(), caplog.at_level(logging.INFO):
        fused = CopyWithoutMRInferer(windows)(pair, network)
        assert sum(seen) == 2
        plain = windows(pair, network)
    torch.testing.assert_close(fused[:, :, [0, 2, 3]], pair[:, :1, [0, 2, 3]], atol=0, rtol=0)
    torch.testing.assert_close(fused[:, :, [1, 4]], plain[:, :, [1, 4]])
    assert "3 of 5 slices show no MR and are copied from the CT." in caplog.text


def test_a_volume_without_any_mr_is_its_ct(network: SpineFusionNet, pair: torch.Tensor) -> None:
    pair[:, 1] = 0
    with torch.inference_mode():
        fused = CopyWithoutMRInferer(window_inferer(2, (16, 16), 0))(pair, network)
    torch.testing.assert_close(fused, pair[:, :1], atol=0, rtol=0)


def test_nothing_is_said_where_every_slice_shows_an_mr(
    network: SpineFusionNet, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.inference_mode(), caplog.at_level(logging.INFO):
        CopyWithoutMRInferer(window_inferer(2, (16, 16), 0))(torch.rand(1, 2, 3, 8, 8), network)
    assert caplog.text == ""


def test_of_slices_larger_than_the_canvas_windows_are_counted(
    network: SpineFusionNet, pair: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.inference_mode(), caplog.at_level(logging.INFO):
        CopyWithoutMRInferer(window_inferer(2, (8, 10), 0, overlap=0.5))(pair, network)
    assert "7 of 10 windows show no MR" in caplog.text


@pytest.mark.parametrize("channel", [0, 1])
def test_a_modality_by_itself_stays_what_it_is(
    channel: int, pair: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    rule = SingleModality(channel)
    with caplog.at_level(logging.INFO):
        shown = CopyWithoutMRInferer(window_inferer(2, (16, 16), 0))(pair, rule)
    torch.testing.assert_close(shown, pair[:, channel : channel + 1])
    assert caplog.text == ""
    assert copy_without_mr(rule) is rule


def test_blocks_of_a_3d_network_without_mr_are_copied_too() -> None:
    network = SpineFusionNet(3, 8, (1, 1), 2).eval()
    pair = torch.rand(1, 2, 24, 8, 8)
    pair[:, 1, 8:] = 0
    with torch.inference_mode():
        fused = CopyWithoutMRInferer(window_inferer(3, (8, 8, 8), 0, overlap=0))(pair, network)
        torch.testing.assert_close(fused[:, :, :8], network(pair[:, :, :8]))
    torch.testing.assert_close(fused[:, :, 8:], pair[:, :1, 8:], atol=0, rtol=0)
