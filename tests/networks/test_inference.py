from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spinefuse_ext.networks import (
    LaplacianPyramidFusion,
    SingleSegNet,
    SpineFusionNet,
    U2FusionNet,
    VNet,
    window_inferer,
)
from spinefuse_ext.validation import ConfigError


@pytest.mark.parametrize(("dims", "roi_size"), [(2, (16, 16)), (3, (16, 16, 16))])
def test_mixed_precision_gives_nearly_the_same_in_float32(dims: int, roi_size: tuple[int, ...]) -> None:
    network = SingleSegNet(VNet(dims, 1, 3, channels=(4, 8))).eval()
    volume = torch.rand(1, 1, 20, 24, 16)
    seen: list[torch.dtype] = []
    network.network.head.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))  # type: ignore[union-attr]
    with torch.inference_mode():
        full, half = (
            window_inferer(dims, roi_size, 0, amp=amp, overlap=0.25, mode="gaussian")(volume, network)
            for amp in (False, True)
        )
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.03, rtol=0)
    assert not torch.equal(half, full)


@pytest.mark.parametrize(
    ("dims", "smallest", "largest", "seen"),
    [
        (2, (16, 96), (64, 128), (48, 96)),
        (2, (16, 16), (32, 128), (32, 80)),
        (3, (8, 8, 8), (16, 64, 64), (16, 48, 80)),
    ],
)
def test_windows_grow_with_the_image_between_two_sizes(
    dims: int, smallest: tuple[int, ...], largest: tuple[int, ...], seen: tuple[int, ...]
) -> None:
    network = SingleSegNet(VNet(dims, 1, 3, channels=(4, 8))).eval()
    sizes: set[tuple[int, ...]] = set()
    network.register_forward_hook(lambda _, inputs, output: sizes.add(tuple(inputs[0].shape[2:])))
    volume = torch.rand(1, 1, 7, 40, 70)
    with torch.inference_mode():
        result = window_inferer(dims, smallest, 0, largest=largest)(volume, network)
    assert result.shape == (1, 3, 7, 40, 70)
    assert sizes == {tuple(min(pair) for pair in zip(seen, largest, strict=True))}


def test_an_image_that_fits_is_seen_as_it_is() -> None:
    network = SingleSegNet(VNet(2, 1, 3, channels=(4, 8))).eval()
    volume = torch.rand(1, 1, 3, 32, 48)
    with torch.inference_mode():
        fitted = window_inferer(2, (16, 16), 0, largest=(256, 256))(volume, network)
        slices = torch.stack([network(volume[:, :, number]) for number in range(3)], dim=2)
    torch.testing.assert_close(fitted, slices)


FUSIONS: dict[str, Callable[[], nn.Module]] = {
    "default": lambda: SpineFusionNet(2, 8, (1, 1), 2),
    "cddfuse": lambda: SpineFusionNet(2, 8, (1, 1), 2, base="cddfuse", detail="inn"),
    "u2fusion": lambda: U2FusionNet(2, 4, 2, (8,)),
    "laplacian": lambda: LaplacianPyramidFusion(2, 2),
}


@pytest.mark.parametrize("fusion", FUSIONS)
@settings(max_examples=10, deadline=None)
@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    more=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    axis=st.integers(0, 2),
)
def test_a_slice_is_fused_alike_on_every_canvas_that_it_fits_on(
    fusion: str, size: tuple[int, int], more: tuple[int, int], axis: int
) -> None:
    torch.manual_seed(0)
    network = FUSIONS[fusion]().eval()
    slices = torch.rand(1, 2, 3, *size)
    volume = slices.movedim(2, axis + 2)
    with torch.inference_mode():
        expected = torch.stack([network(slices[:, :, number]) for number in range(3)], dim=2).movedim(2, axis + 2)
        for canvas in (size, (size[0] + more[0], size[1] + more[1])):
            result = window_inferer(2, canvas, axis, sw_batch_size=2)(volume, network)
            torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_a_slice_larger_than_the_canvas_along_one_axis_is_padded_along_neither() -> None:
    sizes: set[tuple[int, ...]] = set()

    def network(pairs: torch.Tensor) -> torch.Tensor:
        sizes.add(tuple(pairs.shape[2:]))
        return pairs.amax(1, keepdim=True)

    volume = torch.rand(1, 2, 2, 50, 20)
    torch.testing.assert_close(window_inferer(2, (32, 32), 0)(volume, network), volume.amax(1, keepdim=True))
    assert sizes == {(32, 20)}


def test_a_volume_smaller_than_a_block_is_one_block_as_it_is() -> None:
    network = SpineFusionNet(3, 8, (1, 1), 2).eval()
    volume = torch.rand(1, 2, 9, 12, 7)
    with torch.inference_mode():
        torch.testing.assert_close(window_inferer(3, (16, 16, 16), 0)(volume, network), network(volume))


@pytest.mark.parametrize(("options", "words"), [({"multiple": 0}, "got 0"), ({"largest": (8, 16)}, "at most")])
def test_sizes_of_windows_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        window_inferer(2, (16, 16), 0, **{"largest": (32, 32), **options})
