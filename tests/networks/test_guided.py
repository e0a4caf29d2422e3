from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, convolve1d

from spinefuse_ext.networks import GuidedFilterFusion, guided_filter

Filter = tuple[int, float]


def window(place: tuple[int, ...], radius: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of the cube about a voxel that lies in the image."""
    return tuple(slice(max(0, at - radius), min(at + radius + 1, n)) for at, n in zip(place, shape, strict=True))


def voxels(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(product(*map(range, shape)))


def literal_filter(x: np.ndarray, guide: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """One penalised line fit per window by least squares; a voxel gets the mean of the lines of all windows over it."""
    total, count = np.zeros(x.shape), np.zeros(x.shape)
    for place in voxels(x.shape):
        there = window(place, radius, x.shape)
        inside, target = guide[there].ravel(), x[there].ravel()
        # the penalty is of the mean squared error: n * eps * slope ** 2 beside the sum, as one more row
        rows = np.vstack([np.column_stack([inside, np.ones(inside.size)]), [np.sqrt(inside.size * eps), 0]])
        slope, offset = np.linalg.lstsq(rows, np.append(target, 0), rcond=None)[0]
        total[there] += slope * guide[there] + offset
        count[there] += 1
    return total / count


def literal_saliency(image: np.ndarray, radius: int) -> np.ndarray:
    """The Laplacian of 2 * axes + 1 points, its magnitude smoothed by a Gaussian; the border is repeated."""
    laplace = sum(convolve1d(image, [1, -2, 1], axis=axis, mode="nearest") for axis in range(image.ndim))
    place = np.indices([2 * radius + 1] * image.ndim) - radius
    gauss = np.exp(-0.5 * (place**2).sum(0) / radius**2)
    return convolve(np.abs(laplace), gauss / gauss.sum(), mode="nearest")


def literal_fusion(pair: np.ndarray, base: int, saliency: int, coarse: Filter, fine: Filter) -> np.ndarray:
    """The rule of the paper for one pair ``(2, *S)``, with windows that end at the border."""
    shape = pair.shape[1:]
    strength = [literal_saliency(image, saliency) for image in pair]
    winners = [np.greater_equal(one, np.max(strength, axis=0)).astype(float) for one in strength]
    means = np.array([[x[window(at, base, shape)].mean() for at in voxels(shape)] for x in pair]).reshape(pair.shape)
    fused = np.zeros(shape)
    for parts, (radius, eps) in ((means, coarse), (pair - means, fine)):
        filtered = [literal_filter(winner, x, radius, eps) for winner, x in zip(winners, pair, strict=True)]
        weights = np.maximum(filtered, 1e-9)
        fused += (weights / weights.sum(0) * parts).sum(0)
    return fused.clip(0, 1)


@settings(deadline=None, max_examples=25)
@given(
    shape=st.one_of(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 5)] * 3)),
    radius=st.integers(1, 4),
    eps=st.sampled_from([1e-4, 0.01, 0.3]),
    seed=st.integers(0, 99),
)
def test_guided_filter_is_the_mean_of_penalised_line_fits(
    shape: tuple[int, ...], radius: int, eps: float, seed: int
) -> None:
    x, guide = np.random.default_rng(seed).random((2, *shape))
    filtered = guided_filter(torch.from_numpy(x)[None, None], torch.from_numpy(guide)[None, None], radius, eps)
    np.testing.assert_allclose(filtered[0, 0], literal_filter(x, guide, radius, eps), atol=1e-8)


def test_three_voxels_filtered_by_hand() -> None:
    """Radius 1 over 0 1 1, its own guide, eps 1/4.

    Windows {0, 1}, {0, 1, 1}, {1, 1}: variances 1/4, 2/9, 0; slopes 1/4 : 1/2, 2/9 : 17/36, 0, which is 1/2, 8/17, 0;
    means 1/2, 2/3, 1; offsets 1/4, 6/17, 1. A voxel takes the mean of the fits of the two or three windows over it.
    """
    x = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)[None, None, None]
    expected = [(1 / 4 + 6 / 17) / 2, (3 / 4 + 14 / 17 + 1) / 3, (14 / 17 + 1) / 2]
    assert guided_filter(x, x, 1, 0.25).flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_a_strong_edge_of_the_guide_is_kept_and_without_edges_it_only_smooths() -> None:
    step = (torch.arange(40) >= 20).double().expand(1, 1, 30, 40)
    torch.testing.assert_close(guided_filter(step, step, 5, 1e-6), step, atol=1e-5, rtol=0)
    flat = guided_filter(step, torch.ones_like(step), 5, 1e-6)[0, 0, 15]
    assert flat[10:30].diff().max() < 0.1  # the step is spread over 20 columns


@pytest.mark.parametrize("shape", [(13, 16), (5, 1), (5, 6, 7)], ids=str)
def test_fusion_equals_the_rule_written_out(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    pair = rng.random((2, *shape))
    pair[:, :3] = 0.5  # nothing to see in either
    options: tuple[int, int, Filter, Filter] = (3, 2, (4, 0.3), (2, 1e-3))
    fused = GuidedFilterFusion(len(shape), *options)(torch.from_numpy(pair)[None])
    np.testing.assert_allclose(fused[0, 0], literal_fusion(pair, *options), atol=1e-8)


def test_texture_of_each_source_survives_where_it_has_any() -> None:
    """CT with a fine chequerboard on the left, MR on the right, both of mean 1/2: the fusion has both, in full."""
    board = 0.2 * ((torch.arange(128)[:, None] + torch.arange(128)) % 2 * 2.0 - 1)
    left = (torch.arange(128) < 64).float()
    pair = torch.stack((0.5 + board * left, 0.5 + board * (1 - left)))[None]
    fused = GuidedFilterFusion(2)(pair)[0, 0]
    inner = torch.tensor([*range(16, 48), *range(80, 112)])
    torch.testing.assert_close(fused[16:-16, inner], (0.5 + board)[16:-16, inner], atol=1e-3, rtol=0)


@pytest.mark.parametrize("fill", [0.0, 0.37, 1.0])
def test_constant_sources_are_averaged(fill: float) -> None:
    pair = torch.tensor([fill, 0.5]).reshape(1, 2, 1, 1).expand(1, 2, 20, 30)
    torch.testing.assert_close(GuidedFilterFusion()(pair), torch.full((1, 1, 20, 30), (fill + 0.5) / 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_result_has_the_precision_of_the_pair(dtype: torch.dtype) -> None:
    fused = GuidedFilterFusion()(torch.rand(1, 2, 20, 20, dtype=dtype))
    assert fused.dtype == dtype
    assert fused.isfinite().all()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="detail_filter is a number above 0, got 0"):
        GuidedFilterFusion(detail_filter=(0, 1e-6))
    with pytest.raises(ValueError, match="base_filter is a number above 0, got 0"):
        GuidedFilterFusion(base_filter=(45, 0))
    with pytest.raises(ValueError, match=r"base_filter \(its radius\) is a whole number of at least 1, got 4.5"):
        GuidedFilterFusion(base_filter=(4.5, 0.3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spatial_dims 2 or 3, got 4"):
        GuidedFilterFusion(spatial_dims=4)
