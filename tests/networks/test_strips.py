from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import nn

from spinefuse_ext.networks import (
    DenseRestormerBlock,
    DetailEncoder,
    LiteTransformerBlock,
    RestormerBlock,
    SpineFusionNet,
)
from spinefuse_ext.networks.detail import CouplingDetailEncoder
from spinefuse_ext.networks.lite_transformer import FlatFeedForward, LongShortRangeMixing
from spinefuse_ext.networks.restormer import ChannelAttention, PreNormBlock
from spinefuse_ext.networks.runner import run, run_chain
from spinefuse_ext.networks.streamed import BLOCKS
from spinefuse_ext.networks.strips import add_in_strips, each_item, in_strips, reach, strips

TRANSFORMER_BLOCKS: list[Callable[..., nn.Module]] = [RestormerBlock, LiteTransformerBlock, DenseRestormerBlock]


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinefuse_ext.networks.strips.STRIP_VOXELS", 64)


def _perturbed(block: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return block.eval()


def _both(block: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The result of the runner, and that of the plain mathematics."""
    with torch.no_grad():
        assert in_strips(x)
        return run(block, x), block(x)


@pytest.mark.parametrize("size", [(37, 19), (3, 50), (200, 1), (11, 7, 5), (9, 4, 40)])
@pytest.mark.parametrize("block_type", TRANSFORMER_BLOCKS)
def test_blocks_in_strips_equal_whole_blocks(block_type: Callable[..., nn.Module], size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    block = _perturbed(block_type(len(size), 8, 2))
    in_parts, whole = _both(block, torch.randn(2, 8, *size))
    torch.testing.assert_close(in_parts, whole, atol=1e-5, rtol=1e-5)


def _branches() -> nn.Module:
    return LongShortRangeMixing(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize(
    ("mixing", "feed_forward"),
    [
        (lambda: nn.Conv2d(8, 8, 3, padding=1), lambda: nn.Conv2d(8, 8, 1)),
        (lambda: nn.Conv2d(8, 8, 3, padding=1), lambda: FlatFeedForward(2, 8)),
        (lambda: ChannelAttention(2, 8, 2), lambda: nn.Conv2d(8, 8, 3, padding=1)),
        (_branches, lambda: FlatFeedForward(2, 8)),
    ],
    ids=["both", "mixing", "feed-forward", "branches"],
)
def test_children_that_cannot_stream_run_plainly(
    mixing: Callable[[], nn.Module], feed_forward: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    block = _perturbed(PreNormBlock(8, mixing=mixing(), feed_forward=feed_forward()))
    large, whole = _both(block, torch.randn(2, 8, 37, 19))
    torch.testing.assert_close(large, whole, atol=1e-5, rtol=1e-5)


class _Doubled(RestormerBlock):
    """Inherits all but what it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_block_of_another_type_is_not_taken_for_its_base_class() -> None:
    torch.manual_seed(0)
    large, whole = _both(_perturbed(_Doubled(2, 8, 2)), torch.randn(1, 8, 37, 19))
    torch.testing.assert_close(large, whole, atol=0, rtol=0)


@pytest.mark.parametrize("block_type", [*TRANSFORMER_BLOCKS, DetailEncoder, CouplingDetailEncoder])
def test_the_blocks_of_the_network_are_known(block_type: Callable[..., nn.Module]) -> None:
    block = block_type(2, 8) if block_type in (DetailEncoder, CouplingDetailEncoder) else block_type(2, 8, 2)
    assert BLOCKS.find(block) is not None


def test_a_chain_leaves_alone_what_a_block_only_passes_on() -> None:
    torch.manual_seed(0)
    given = torch.randn(1, 37, 19, 8).movedim(-1, 1)
    x = given.clone()
    chain = [nn.Identity(), _perturbed(RestormerBlock(2, 8, 2)), _perturbed(RestormerBlock(2, 8, 2))]
    with torch.no_grad():
        result = run_chain(chain, x)
        expected = nn.Sequential(*chain)(given)
    torch.testing.assert_close(x, given, atol=0, rtol=0)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(230, 3), (17, 30), (120, 5, 2)])
def test_detail_encoder_in_strips_equals_the_whole(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    in_parts, whole = _both(_perturbed(DetailEncoder(len(size), 4)), torch.randn(2, 4, *size))
    torch.testing.assert_close(in_parts, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(37, 19), (2, 64), (120, 2), (11, 7, 5)])
def test_couplings_in_strips_equal_the_whole(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = _perturbed(CouplingDetailEncoder(len(size), 4, depth=2, exponent_limit=1.0))
    in_parts, whole = _both(encoder, torch.randn(2, 4, *size))
    torch.testing.assert_close(in_parts, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block_type", TRANSFORMER_BLOCKS)
def test_a_block_changes_what_it_is_given_only_if_told(block_type: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    block = _perturbed(block_type(2, 8, 2))
    given = torch.randn(1, 37, 19, 8).movedim(-1, 1)
    x = given.clone()
    with torch.no_grad():
        result = run(block, x)
        torch.testing.assert_close(x, given, atol=0, rtol=0)
        in_place = run(block, x, overwrite=True)
    assert in_place.data_ptr() == x.data_ptr()
    torch.testing.assert_close(in_place, result, atol=0, rtol=0)


@pytest.mark.parametrize("options", [{}, {"base": "cddfuse", "detail": "inn"}], ids=["default", "cddfuse"])
def test_features_in_strips_equal_the_whole_and_outlive_the_fusion(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = _perturbed(SpineFusionNet(dim=8, num_blocks=(2, 2), num_heads=2, **options))
    x = torch.rand(2, 2, 45, 31)
    whole = network.encode(x)
    with torch.no_grad():
        features = network.encode(x)
        network.fuse_features(features, x)
    for in_parts, expected in zip(features, whole, strict=True):
        torch.testing.assert_close(in_parts, expected.detach(), atol=1e-4, rtol=1e-4)


def test_the_benchmark_compares_with_the_same_function() -> None:
    torch.manual_seed(0)
    naive = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "naive_cddfuse.py"))["NaiveCDDFuse"]
    network = _perturbed(SpineFusionNet(dim=8, num_blocks=(1, 1), num_heads=2, base="cddfuse", detail="inn"))
    x = torch.rand(1, 2, 45, 31)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), naive(network)(x), atol=1e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 40), bias=st.booleans(), batch=st.integers(1, 3))
def test_any_size_equals_the_whole_block(height: int, width: int, bias: bool, batch: int) -> None:
    torch.manual_seed(0)
    block = _perturbed(RestormerBlock(2, 8, 2, bias=bias))
    x = torch.randn(batch, 8, height, width)
    with torch.no_grad():
        torch.testing.assert_close(run(block, x), block(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"base": "cddfuse", "detail": "inn"}], ids=["default", "cddfuse"])
def test_the_network_fuses_alike_in_strips(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = SpineFusionNet(dim=16, num_blocks=(1, 1), num_heads=2, **options).eval()
    x = torch.rand(1, 2, 45, 31)
    with torch.inference_mode():
        in_parts = network(x)
    torch.testing.assert_close(in_parts, network(x).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("block_type", TRANSFORMER_BLOCKS)
def test_bfloat16_in_strips_is_as_close_to_float32_as_whole(block_type: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    block = block_type(2, 16, 2).eval()
    x = torch.randn(1, 16, 40, 40)
    exact = block(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        in_parts, whole = _both(block, x)
    assert (in_parts - exact).abs().max() < 1.5 * (whole - exact).abs().max() + 1e-3


def test_a_blank_image_is_finite() -> None:
    with torch.inference_mode():
        assert run(RestormerBlock(2, 8, 2), torch.zeros(1, 8, 40, 40)).isfinite().all()


def test_meta_data_come_through() -> None:
    x = MetaTensor(torch.randn(1, 8, 40, 40), meta={"name": "case"})
    with torch.inference_mode():
        result = run(RestormerBlock(2, 8, 2), x)
    assert isinstance(result, MetaTensor)


@pytest.mark.parametrize("halo", [0, 1, 3])
def test_strips_are_all_rows_once_in_order(halo: int) -> None:
    rows = [row for strip in strips(torch.zeros(1, 2, 45, 16), halo) for row in range(strip.first, strip.last)]
    assert rows == list(range(45))


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_a_convolution_in_strips_pads_at_the_border_of_the_image_only(padding_mode: str) -> None:
    convolution = nn.Conv2d(3, 3, 5, padding=2, padding_mode=padding_mode)
    x = torch.randn(2, 3, 50, 9)
    with torch.no_grad():
        result = each_item(lambda item: add_in_strips(convolution, item, reach(convolution)), x)
        torch.testing.assert_close(result, x + convolution(x))


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 40), pool_size=st.integers(1, 9))
def test_lite_transformer_of_any_size_equals_the_whole_block(height: int, width: int, pool_size: int) -> None:
    torch.manual_seed(0)
    block = _perturbed(LiteTransformerBlock(2, 8, 2, pool_size=pool_size, kernel_size=5))
    x = torch.randn(2, 8, height, width)
    with torch.no_grad():
        torch.testing.assert_close(run(block, x), block(x), atol=1e-5, rtol=1e-5)


def test_reach_adds_up_along_a_chain() -> None:
    assert reach(nn.Sequential(nn.Conv2d(1, 1, 3), nn.GELU(), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 7))) == 4


def test_not_in_strips_with_gradients_or_for_a_small_image() -> None:
    large = torch.zeros(1, 1, 64, 64)
    assert not in_strips(large)
    with torch.no_grad():
        assert in_strips(large)
        assert in_strips(large[..., :1, :])
        assert not in_strips(large[..., :1, :8])
        assert in_strips(large.bfloat16())
        assert not in_strips(large[..., :1, :].bfloat16())
