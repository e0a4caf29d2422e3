from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d
from torch import nn

from spinefuse_ext.networks import (
    GuidedFilterFusion,
    LaplacianPyramidFusion,
    MaxFusion,
    MeanFusion,
    SingleModality,
    WaveletFusion,
)

RULES: dict[str, Callable[[int], nn.Module]] = {
    "mean": lambda spatial_dims: MeanFusion(),
    "max": lambda spatial_dims: MaxFusion(),
    "laplacian": lambda spatial_dims: LaplacianPyramidFusion(spatial_dims, levels=3),
    "wavelet": lambda spatial_dims: WaveletFusion(levels=3),
    "guided": lambda spatial_dims: GuidedFilterFusion(spatial_dims, 3, 2, (6, 0.3), (2, 1e-6)),
}
every_rule = pytest.mark.parametrize("rule", RULES)
every_size = pytest.mark.parametrize("size", [(33, 46), (1, 5), (40, 40, 17), (3, 2, 1)], ids=str)


@every_rule
@every_size
def test_fusion_has_the_size_of_the_pair_and_stays_in_range(rule: str, size: tuple[int, ...]) -> None:
    black_and_white = torch.rand(2, 2, *size).round()  # what overshoots most
    fused = RULES[rule](len(size))(black_and_white)
    assert fused.shape == (2, 1, *size)
    assert 0 <= fused.min() <= fused.max() <= 1


@every_rule
@every_size
def test_two_equal_sources_are_their_own_fusion(rule: str, size: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, *size)
    torch.testing.assert_close(RULES[rule](len(size))(torch.cat((image, image), 1)), image, atol=2e-6, rtol=0)


@every_rule
def test_neither_source_is_preferred(rule: str) -> None:
    pair = torch.rand(1, 2, 24, 31)
    network = RULES[rule](2)
    torch.testing.assert_close(network(pair.flip(1)), network(pair))


@every_rule
def test_images_of_a_batch_do_not_mix(rule: str) -> None:
    batch = torch.rand(3, 2, 21, 30)
    network = RULES[rule](2)
    torch.testing.assert_close(network(batch)[1:2], network(batch[1:2]))


@every_rule
def test_a_rule_has_no_weights_and_refuses_what_is_no_pair(rule: str) -> None:
    network = RULES[rule](2)
    assert network.state_dict() == {}
    with pytest.raises(ValueError, match=r"2 channels, CT and MR, got an image of shape \[1, 3, 8, 8\]"):
        network(torch.rand(1, 3, 8, 8))


def test_mean_and_maximum_are_taken_voxel_by_voxel() -> None:
    pair = torch.tensor([[[[0.0, 0.5]], [[1.0, 0.25]]]])
    assert MeanFusion()(pair).tolist() == [[[[0.5, 0.375]]]]
    assert MaxFusion()(pair).tolist() == [[[[1.0, 0.5]]]]


@pytest.mark.parametrize("rule", ["laplacian", "wavelet"])
def test_grey_levels_are_averaged_and_detail_of_both_is_kept_at_full_strength(rule: str) -> None:
    """A chequerboard left in one and right in the other, on different grey: both in the result, on the mean grey."""
    board = 0.2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1)
    left = (torch.arange(64) < 32).float()
    pair = torch.stack((0.3 + board * left, 0.7 + board * (1 - left)))[None]
    fused = RULES[rule](2)(pair)[0, 0]
    inner = torch.tensor([*range(8, 24), *range(40, 56)])  # away from the border and from the change in the middle
    torch.testing.assert_close(fused[8:-8, inner], (0.5 + board)[8:-8, inner], atol=0.02, rtol=0)


@pytest.mark.parametrize("rule", ["mean", "max", "laplacian", "guided"])
def test_gradients_reach_both_sources(rule: str) -> None:
    pair = torch.rand(1, 2, 16, 17, requires_grad=True)
    RULES[rule](2)(pair).sum().backward()
    assert pair.grad is not None
    assert pair.grad.isfinite().all()
    assert pair.grad.flatten(2).any(2).all()


@pytest.mark.parametrize("rule", ["mean", "max", "laplacian"])
@pytest.mark.parametrize("size", [(19, 16), (9, 12, 7)])
def test_scripted_rule_gives_the_same(rule: str, size: tuple[int, ...]) -> None:
    network, pair = RULES[rule](len(size)), torch.rand(1, 2, *size)
    torch.testing.assert_close(torch.jit.script(network)(pair), network(pair))


def literal_pyramid(pair: np.ndarray, levels: int) -> np.ndarray:
    """The rule for one pair ``(2, H, W)`` by plain convolution and interpolation between voxel centres."""

    def reduce(image: np.ndarray, axis: int) -> np.ndarray:
        even = np.pad(image, [(0, image.shape[a] % 2 if a == axis else 0) for a in range(2)], mode="edge")
        smooth = correlate1d(even, np.array([1, 3, 3, 1]) / 8, axis=axis, mode="nearest", origin=-1)
        return smooth.take(range(0, even.shape[axis], 2), axis)

    def expand(image: np.ndarray, size: int, axis: int) -> np.ndarray:
        places = (np.arange(size) + 0.5) / 2 - 0.5
        return np.apply_along_axis(lambda line: np.interp(places, np.arange(len(line)), line), axis, image)

    if levels == 0:
        return pair.mean(0)
    coarse = np.stack([reduce(reduce(image, 0), 1) for image in pair])
    rows, columns = pair.shape[1:]
    larger = np.stack([expand(expand(image, rows, 0), columns, 1) for image in coarse])
    ct, mr = pair - larger
    merged = literal_pyramid(coarse, levels - 1)
    return np.where(abs(ct) >= abs(mr), ct, mr) + expand(expand(merged, rows, 0), columns, 1)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 24), columns=st.integers(1, 24), levels=st.integers(1, 4), seed=st.integers(0, 99))
def test_pyramid_equals_the_plain_formula_at_any_size(rows: int, columns: int, levels: int, seed: int) -> None:
    pair = np.random.default_rng(seed).random((2, rows, columns))
    fused = LaplacianPyramidFusion(levels=levels)(torch.from_numpy(pair)[None])
    np.testing.assert_allclose(fused[0, 0], literal_pyramid(pair, levels).clip(0, 1), atol=1e-12)


def test_wrong_sizes_of_a_pyramid_are_refused() -> None:
    with pytest.raises(ValueError, match="levels is a whole number of at least 1, got 0"):
        LaplacianPyramidFusion(levels=0)
    with pytest.raises(ValueError, match="spatial_dims 2 or 3, got 4"):
        LaplacianPyramidFusion(spatial_dims=4)


def test_one_modality_is_passed_on_unchanged_and_not_shared() -> None:
    pair = torch.rand(2, 2, 5, 6, 4)
    for channel in (0, 1):
        image = SingleModality(channel)(pair)
        torch.testing.assert_close(image, pair[:, [channel]], atol=0, rtol=0)
        image.zero_()
    assert pair.max() > 0
    with pytest.raises(ValueError, match=r"channel 0 \(CT\) or 1 \(MR\), got 2"):
        SingleModality(2)
