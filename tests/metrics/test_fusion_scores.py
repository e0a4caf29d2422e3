"""Values, properties and refusals of the fusion scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity as skimage_ssim

from spinefuse_ext.metrics import (
    FUSION_SCORES,
    average_gradient,
    bone_brightness,
    bone_level_of,
    edge_preservation,
    entropy,
    mutual_information,
    soft_tissue_correlation,
    spatial_frequency,
    standard_deviation,
    structural_similarity,
    sum_of_correlations_of_differences,
    visual_information_fidelity,
)
from spinefuse_ext.validation import ConfigError

WITHOUT_SOURCES = ("entropy", "standard_deviation", "spatial_frequency", "average_gradient")
WITH_SOURCES = tuple(name for name in FUSION_SCORES if name not in WITHOUT_SOURCES)
NOT_IN_PAPER = (
    "standard_deviation",
    "average_gradient",
    "sum_of_correlations_of_differences",
    "edge_preservation",
    "structural_similarity",
    "bone_brightness",
    "soft_tissue_correlation",
)
KNOW_CT_FROM_MR = ("bone_brightness", "soft_tissue_correlation")
Image = NDArray[np.float64]


def smooth(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Whole grey levels of a smooth random pattern in [0, 255], so that windows differ but are no white noise."""
    image = torch.from_numpy(rng.random(shape))
    for axis in range(image.ndim - 2, image.ndim):
        image = image + image.roll(1, axis) + image.roll(2, axis)
    return ((image - image.min()) / (image.max() - image.min()) * 255).round()


def example(
    rng: np.random.Generator, batch: int = 1, shape: tuple[int, ...] = (45, 52)
) -> tuple[torch.Tensor, torch.Tensor]:
    sources = smooth(rng, batch, 2, *shape)
    return (0.7 * sources[:, :1] + 0.3 * sources[:, 1:]).round(), sources


def one(score: torch.Tensor) -> float:
    assert score.shape == (1,)
    return float(score.item())


def image_of(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None]


def test_entropy_of_four_equally_frequent_levels_is_two_bits() -> None:
    assert one(entropy(image_of([[0, 10], [20, 255]]), data_range=255)) == pytest.approx(2.0)


def test_entropy_rounds_halves_to_even() -> None:
    # 0.5 -> 0 and 1.5 -> 2: four pixels hold the levels 0, 0, 2, 2, one bit
    assert one(entropy(image_of([[0, 0.5], [1.5, 2]]), data_range=255)) == pytest.approx(1.0)
    in_unit_range = (image_of([[0, 0.5], [1.5, 2]]) / 255).float()
    assert one(entropy(in_unit_range)) == pytest.approx(1.0)


def test_standard_deviation_is_that_of_the_population() -> None:
    assert one(standard_deviation(image_of([[0, 4], [0, 4]]), data_range=255)) == pytest.approx(2.0)


def test_spatial_frequency_counts_the_differences_that_exist() -> None:
    # along rows 3, 3 and 1: mean square 19/3; along columns 4, 2, 0, mean square 20/3
    image = image_of([[0, 3, 3, 3], [4, 1, 3, 3]])
    along_rows = (9 + 0 + 0 + 9 + 4 + 0) / 6
    along_columns = (16 + 4 + 0 + 0) / 4
    assert one(spatial_frequency(image, data_range=255)) == pytest.approx(math.sqrt(along_rows + along_columns))


def test_average_gradient_equals_numpy_gradient(rng: np.random.Generator) -> None:
    fused, _ = example(rng)
    slopes = np.gradient(fused[0, 0].numpy())
    expected = np.sqrt((slopes[0] ** 2 + slopes[1] ** 2) / 2).mean()
    assert one(average_gradient(fused, data_range=255)) == pytest.approx(expected)


def test_average_gradient_of_a_volume_is_the_root_mean_square_over_three_axes() -> None:
    ramp = torch.arange(5.0).reshape(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 3)
    assert one(average_gradient(ramp, data_range=255)) == pytest.approx(math.sqrt(1 / 3))


def literal_mutual_information(first: Image, second: Image) -> float:
    """Sum over pairs of values of p log(p / (p p)), natural logarithm."""
    total = 0.0
    for a in np.unique(first):
        for b in np.unique(second):
            joint = ((first == a) & (second == b)).mean()
            if joint > 0:
                total += joint * math.log(joint / ((first == a).mean() * (second == b).mean()))
    return total


@pytest.mark.parametrize("step", [pytest.param(8, id="whole-levels"), pytest.param(8.3, id="broken-levels")])
def test_mutual_information_is_the_sum_over_both_sources(rng: np.random.Generator, step: float) -> None:
    fused, sources = (torch.div(x, 8, rounding_mode="floor") * step * 0.9 for x in example(rng, shape=(20, 30)))
    expected = sum(literal_mutual_information(fused[0, 0].numpy(), source.numpy()) for source in sources[0])
    assert one(mutual_information(fused, sources, data_range=255)) == pytest.approx(expected)


def test_mutual_information_of_nothing_but_distinct_values_is_the_logarithm_of_their_number(
    rng: np.random.Generator,
) -> None:
    sources = torch.from_numpy(rng.permutation(2 * 60 * 60).reshape(1, 2, 60, 60) / 7200)  # over 2**20 joint cells
    assert one(mutual_information(sources[:, :1], sources)) == pytest.approx(2 * math.log(3600))


def test_structural_similarity_equals_scikit_image_with_a_range_of_two(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    expected = sum(reference_ssim(fused[0, 0], source, data_range=2.0) for source in sources[0])
    assert one(structural_similarity(fused, sources, data_range=255)) == pytest.approx(expected, rel=1e-9)


def test_correlations_of_differences_equal_numpy(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    f, ct, mr = (image.numpy().ravel() for image in (fused[0, 0], *sources[0]))
    expected = np.corrcoef(ct, f - mr)[0, 1] + np.corrcoef(mr, f - ct)[0, 1]
    assert one(sum_of_correlations_of_differences(fused, sources, data_range=255)) == pytest.approx(expected)


def reference_ssim(first: torch.Tensor, second: torch.Tensor, data_range: float) -> float:
    value: float = skimage_ssim(first.numpy(), second.numpy(), data_range=data_range)  # type: ignore[no-untyped-call]
    return value


def literal_fidelity(source: Image, fused: Image) -> float:
    """Sheikh & Bovik 2006, pixel domain: information kept over information there, four scales of full 2-D windows."""
    kept = available = 0.0
    for scale in range(4):
        width = 2 ** (4 - scale) + 1
        axis = np.arange(width) - width // 2
        window = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * (width / 5) ** 2))
        window /= window.sum()

        def local(image: Image, window: Image = window) -> Image:
            return convolve2d(image, window, mode="valid")

        if scale:
            source, fused = local(source)[::2, ::2], local(fused)[::2, ::2]
        var_s = local(source**2) - local(source) ** 2
        var_f = local(fused**2) - local(fused) ** 2
        gain = (local(source * fused) - local(source) * local(fused)) / var_s
        noise = np.where(gain > 0, var_f - gain**2 * var_s, var_f)
        gain = np.maximum(gain, 0)
        kept += np.log10(1 + gain**2 * var_s / (np.maximum(noise, 0) + 2)).sum()
        available += np.log10(1 + var_s / 2).sum()
    return kept / available


@pytest.mark.parametrize("shape", [(45, 52), (41, 64)])
def test_fidelity_equals_the_formula_written_out(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    fused, sources = example(rng, shape=shape)
    expected = sum(literal_fidelity(source.numpy(), fused[0, 0].numpy()) for source in sources[0])
    assert one(visual_information_fidelity(fused, sources, data_range=255)) == pytest.approx(expected, rel=1e-7)


def test_fidelity_rises_with_contrast_and_falls_with_blur(rng: np.random.Generator) -> None:
    source = example(rng)[0] * 0.5 + 32
    sources = source.expand(-1, 2, -1, -1)
    blurred = torch.nn.functional.avg_pool2d(source, 5, 1, 2, count_include_pad=False)
    stretched = (source - 96) * 1.3 + 96
    scores = [one(visual_information_fidelity(x, sources, data_range=255)) for x in (blurred, source, stretched)]
    assert scores[0] < 1 < scores[1] == pytest.approx(2, abs=1e-6)
    assert scores[2] > 2


def literal_edges(image: Image) -> tuple[Image, Image]:
    across = convolve2d(image, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], mode="same")
    down = convolve2d(image, [[1, 2, 1], [0, 0, 0], [-1, -2, -1]], mode="same")
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(across == 0, np.pi / 2, np.arctan(down / across))
    return np.hypot(across, down), angle


def literal_preservation(source: Image, fused: Image) -> tuple[float, float]:
    """Xydeas & Petrovic 2000: weighted sum of the preservation, and sum of the weights."""
    (g_s, a_s), (g_f, a_f) = literal_edges(source), literal_edges(fused)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(g_s > g_f, g_f / g_s, np.where(g_s == g_f, g_f, g_s / g_f))
    strength = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
    angle = 0.9879 / (1 + np.exp(-22 * (1 - np.abs(a_s - a_f) / (np.pi / 2) - 0.8)))
    return (strength * angle * g_s).sum(), g_s.sum()


def test_edge_preservation_equals_the_formula_written_out(rng: np.random.Generator) -> None:
    fused, sources = example(rng, shape=(21, 18))
    fused[..., 5:9, 5:9] = sources[:, :1, 5:9, 5:9] = 40  # equal strengths, and angles without a slope along W
    parts = [literal_preservation(source.numpy(), fused[0, 0].numpy()) for source in sources[0]]
    expected = sum(part[0] for part in parts) / sum(part[1] for part in parts)
    assert one(edge_preservation(fused, sources, data_range=255)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", FUSION_SCORES)
def test_a_batch_scores_as_its_items_do(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng, batch=3)
    score = FUSION_SCORES[name]
    single = torch.cat([score(fused[i : i + 1], sources[i : i + 1], data_range=255) for i in range(3)])
    together = score(fused, sources, data_range=255)
    assert together.shape == (3,)
    torch.testing.assert_close(together, single)
    assert len(set(together.tolist())) == 3


@pytest.mark.parametrize("name", FUSION_SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_do_not_depend_on_the_range_that_the_levels_are_stored_in(
    rng: np.random.Generator, name: str, dtype: torch.dtype
) -> None:
    fused, sources = (x.to(dtype) for x in example(rng))
    sources[0, 0, :5] = 127.5  # a half survives the way through [0, 1], too
    score = FUSION_SCORES[name]
    torch.testing.assert_close(
        score(fused / 255, sources / 255), score(fused, sources, 255), rtol=1e-9, atol=1e-9, equal_nan=False
    )


@pytest.mark.parametrize("name", FUSION_SCORES)
def test_inputs_are_left_as_they_were(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng)
    copies = fused.clone(), sources.clone()
    FUSION_SCORES[name](fused, sources, data_range=255)
    assert torch.equal(fused, copies[0])
    assert torch.equal(sources, copies[1])


@pytest.mark.parametrize("name", [name for name in WITH_SOURCES if name not in KNOW_CT_FROM_MR])
def test_sources_are_exchangeable(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng)
    score = FUSION_SCORES[name]
    torch.testing.assert_close(score(fused, sources, 255), score(fused, sources.flip(1), 255))


@pytest.mark.parametrize("name", [name for name in FUSION_SCORES if name != "edge_preservation"])
def test_volumes_are_scored_as_a_whole(rng: np.random.Generator, name: str) -> None:
    size = 41 if name == "visual_information_fidelity" else 9
    fused, sources = example(rng, shape=(size, size + 2, size + 1))
    assert torch.isfinite(FUSION_SCORES[name](fused, sources, 255)).all()


def test_structural_similarity_of_a_volume_equals_scikit_image(rng: np.random.Generator) -> None:
    fused, sources = example(rng, shape=(9, 11, 10))
    expected = sum(reference_ssim(fused[0, 0], source, data_range=2.0) for source in sources[0])
    assert one(structural_similarity(fused, sources, 255)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("entropy", 0.0),
        ("standard_deviation", 0.0),
        ("spatial_frequency", 0.0),
        ("average_gradient", 0.0),
        ("mutual_information", 0.0),
        ("visual_information_fidelity", 0.0),
    ],
)
def test_a_constant_fused_image_scores_zero(rng: np.random.Generator, name: str, expected: float) -> None:
    _, sources = example(rng)
    score = one(FUSION_SCORES[name](torch.full((1, 1, 45, 52), 77.0), sources, data_range=255))
    assert score == expected
    assert math.copysign(1, score) == 1


def test_a_constant_source_holds_no_information_to_lose(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    sources[:, 0] = 128
    alone = literal_fidelity(sources[0, 1].numpy(), fused[0, 0].numpy())
    assert one(visual_information_fidelity(fused, sources, 255)) == pytest.approx(1 + alone, rel=1e-7)


@pytest.mark.parametrize("constant", ["source", "difference"])
def test_a_correlation_that_does_not_exist_is_nan(rng: np.random.Generator, constant: str) -> None:
    fused, sources = example(rng)
    if constant == "source":
        sources[:, 0] = 128
    else:
        fused = sources[:, :1] * 0.5 + 3
        sources = torch.cat((fused - 3, sources[:, 1:]), dim=1)
    assert math.isnan(one(sum_of_correlations_of_differences(fused, sources, 255)))


def test_edge_preservation_without_an_edge_is_nan() -> None:
    assert math.isnan(one(edge_preservation(torch.zeros(1, 1, 9, 9), torch.zeros(1, 2, 9, 9))))


def test_identical_images_reach_the_highest_scores(rng: np.random.Generator) -> None:
    fused = example(rng)[0]
    sources = fused.expand(-1, 2, -1, -1)
    assert one(structural_similarity(fused, sources, 255)) == pytest.approx(2)
    assert one(visual_information_fidelity(fused, sources, 255)) == pytest.approx(2, abs=1e-8)
    assert one(mutual_information(fused, sources, 255)) == pytest.approx(
        2 * math.log(2) * one(entropy(fused, None, 255))
    )
    assert 0.97 < one(edge_preservation(fused, sources, 255)) < 0.9999 * 0.9879


@given(fade=st.floats(0, 1), offset=st.floats(0, 50), slope=st.floats(0.1, 0.8))
def test_bone_and_soft_tissue_are_rated_apart(fade: float, offset: float, slope: float) -> None:
    rng = np.random.default_rng(0)
    ct, mr = smooth(rng, 1, 2, 20, 24).split(1, dim=1)
    fused = torch.where(ct >= 0.6 * 255, fade * ct, offset + slope * mr)
    pair = torch.cat((ct, mr), dim=1)
    scores = [one(FUSION_SCORES[name](fused, pair, 255, bone_level=0.6)) for name in KNOW_CT_FROM_MR]
    assert scores == [pytest.approx(fade, abs=1e-3), pytest.approx(1, abs=1e-3)]


def test_soft_tissue_correlation_equals_numpy_where_a_source_is_above_the_background(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    sources[..., :20, :] = 12  # below 5 % of the range in both: air
    ct, mr = sources[0].numpy()
    counts = (ct < 350 / 1200 * 255) & (np.maximum(ct, mr) > 0.05 * 255)
    expected = np.corrcoef(fused[0, 0].numpy()[counts], mr[counts])[0, 1]
    assert one(soft_tissue_correlation(fused, sources, 255)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("window", "level"), [((-200, 1000), 350 / 1200), ((0, 500), 0.3), ((200, 900), 0), ((-100, 100), 1)]
)
def test_bone_begins_at_150_hu_in_any_window(window: tuple[int, int], level: float) -> None:
    assert bone_level_of(window) == level


@pytest.mark.parametrize("window", [(100, 100), (1000, -200)])
def test_a_ct_window_that_is_none_is_refused(window: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="ct_window_hu should go from a lower to a higher HU"):
        bone_level_of(window)


def test_bone_brighter_than_in_ct_does_not_make_up_for_bone_that_faded() -> None:
    ct = image_of([[200, 200, 100, 0]])
    fused = image_of([[255, 100, 100, 255]])
    assert one(bone_brightness(fused, torch.cat((ct, ct), dim=1), 255)) == pytest.approx(400 / 500)


def test_without_bone_its_brightness_is_nan(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    assert math.isnan(one(bone_brightness(fused, 0.25 * sources, 255)))


@pytest.mark.parametrize("name", FUSION_SCORES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_item_that_is_not_finite_is_nan_and_leaves_the_others_alone(
    rng: np.random.Generator, name: str, value: float
) -> None:
    fused, sources = example(rng, batch=2)
    clean = FUSION_SCORES[name](fused, sources, 255)
    fused[0, 0, 3, 4] = value
    spoilt = FUSION_SCORES[name](fused, sources, 255)
    assert math.isnan(spoilt[0])
    assert spoilt[1] == clean[1]


@pytest.mark.parametrize("name", FUSION_SCORES)
def test_a_full_mask_changes_nothing_and_an_empty_one_gives_nan(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng)
    score = FUSION_SCORES[name]
    full = score(fused, sources, 255, mask=torch.ones_like(fused, dtype=torch.bool))
    torch.testing.assert_close(full, score(fused, sources, 255))
    assert math.isnan(one(score(fused, sources, 255, mask=torch.zeros_like(fused))))


@pytest.mark.parametrize(
    "name",
    [
        "entropy",
        "standard_deviation",
        "spatial_frequency",
        "mutual_information",
        "sum_of_correlations_of_differences",
    ],
)
def test_pixels_outside_the_mask_do_not_count(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng)
    box = (..., slice(4, 34), slice(6, 40))
    mask = torch.zeros_like(fused)
    mask[box] = 1
    score = FUSION_SCORES[name]
    torch.testing.assert_close(score(fused, sources, 255, mask=mask), score(fused[box], sources[box], 255))


def test_structural_similarity_in_a_mask_is_that_of_the_windows_centred_in_it(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    mask = torch.zeros_like(fused)
    mask[..., 7:31, 9:37] = 1
    box = (..., slice(4, 34), slice(6, 40))  # three pixels more on each side
    masked = structural_similarity(fused, sources, 255, mask=mask)
    torch.testing.assert_close(masked, structural_similarity(fused[box], sources[box], 255))


def test_windowed_scores_see_damage_inside_the_mask_only(rng: np.random.Generator) -> None:
    fused, sources = example(rng, shape=(64, 90))
    damaged = fused.clone()
    damaged[..., 70:] = 0
    left = torch.zeros_like(fused)
    left[..., :40] = 1
    for score in (visual_information_fidelity, edge_preservation, average_gradient):
        torch.testing.assert_close(score(fused, sources, 255, mask=left), score(damaged, sources, 255, mask=left))
        assert score(fused, sources, 255, mask=1 - left) != score(damaged, sources, 255, mask=1 - left)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), offset=st.integers(0, 100))
def test_invariants_hold_for_any_image(seed: int, offset: int) -> None:
    fused, sources = (x * 0.6 for x in example(np.random.default_rng(seed), shape=(43, 41)))
    fused, sources = fused.round(), sources.round()
    for score in (entropy, standard_deviation, spatial_frequency, average_gradient, mutual_information):
        moved = score(fused + offset, sources, 255)
        torch.testing.assert_close(moved, score(fused, sources, 255))
        torch.testing.assert_close(score(fused.flip(-1), sources.flip(-1), 255), score(fused, sources, 255))
    assert 0 <= one(entropy(fused, None, 255)) <= 8
    assert 0 <= one(edge_preservation(fused, sources, 255)) < 1
    assert abs(one(sum_of_correlations_of_differences(fused, sources, 255))) <= 2 + 1e-9
    assert abs(one(structural_similarity(fused, sources, 255))) <= 2 + 1e-9
    assert one(visual_information_fidelity(fused, sources, 255)) >= 0


def test_paper_entropy_is_the_same(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    assert one(entropy(fused, sources, 255, "paper")) == one(entropy(fused, sources, 255))


def test_paper_mutual_information_is_between_the_sources_alone(rng: np.random.Generator) -> None:
    fused, sources = (torch.div(x, 16, rounding_mode="floor") for x in example(rng))
    expected = literal_mutual_information(*sources[0].numpy())
    assert one(mutual_information(fused, sources, 255, "paper")) == pytest.approx(expected)
    assert one(mutual_information(fused * 0, sources, 255, "paper")) == pytest.approx(expected)


def test_paper_fidelity_is_the_structural_similarity_of_the_sources(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    expected = reference_ssim(sources[0, 0], sources[0, 1], data_range=255)
    assert one(visual_information_fidelity(fused, sources, 255, "paper")) == pytest.approx(expected)


def test_paper_spatial_frequency_of_one_wave_is_its_radius() -> None:
    row, column = torch.meshgrid(torch.arange(40) / 40, torch.arange(50) / 50, indexing="ij")
    wave = 0.5 + 0.4 * torch.cos(2 * math.pi * (3 * row + 4 * column))
    # 3 and 4 cycles per image: radius 5; the rest is rounding to steps of 1/4096 level
    assert one(spatial_frequency(wave[None, None], convention="paper")) == pytest.approx(5, abs=1e-2)


def test_paper_spatial_frequency_has_no_masked_form() -> None:
    image = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match="no masked form"):
        spatial_frequency(image, convention="paper", mask=torch.ones_like(image))


@pytest.mark.parametrize("name", NOT_IN_PAPER)
def test_scores_that_the_paper_does_not_print_say_so(rng: np.random.Generator, name: str) -> None:
    with pytest.raises(ValueError, match="paper prints no formula"):
        FUSION_SCORES[name](*example(rng), data_range=255, convention="paper")


@pytest.mark.parametrize("name", WITHOUT_SOURCES)
def test_scores_of_one_image_need_no_sources(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng)
    assert one(FUSION_SCORES[name](fused, None, 255)) == one(FUSION_SCORES[name](fused, sources, 255))


@pytest.mark.parametrize("name", WITH_SOURCES)
def test_scores_that_compare_refuse_to_go_without_sources(name: str) -> None:
    with pytest.raises(ValueError, match="Expected sources"):
        FUSION_SCORES[name](torch.rand(1, 1, 50, 50), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"fused": torch.zeros(1, 2, 45, 52)}, r"Expected fused \(B, 1, \*S\)", id="channels"),
        pytest.param({"sources": torch.zeros(1, 2, 45, 50)}, r"Expected sources \(1, 2, 45, 52\)", id="sources"),
        pytest.param({"mask": torch.zeros(1, 2, 45, 52)}, r"Expected mask \(1, 1, 45, 52\)", id="mask"),
        pytest.param({"data_range": 1.0}, "pass their data_range", id="levels-as-unit-range"),
        pytest.param({"data_range": 0.0}, "data_range is a number above 0", id="no-range"),
        pytest.param({"convention": "evaluater"}, "evaluator", id="typo"),
        pytest.param(
            {"fused": torch.zeros(0, 1, 45, 52), "sources": torch.zeros(0, 2, 45, 52)}, "one image", id="empty"
        ),
    ],
)
def test_bad_arguments_are_refused(rng: np.random.Generator, change: dict[str, Any], message: str) -> None:
    fused, sources = example(rng)
    arguments: dict[str, Any] = {"fused": fused, "sources": sources, "data_range": 255.0} | change
    with pytest.raises(ValueError, match=message):
        mutual_information(**arguments)


def test_a_slight_overshoot_is_cut_off() -> None:
    image = image_of([[-0.02, 0.0], [1.0, 1.02]])
    assert one(entropy(image)) == pytest.approx(1.0)


def test_images_too_small_for_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 41 pixels along each axis, got \(41, 40\)"):
        visual_information_fidelity(torch.rand(1, 1, 41, 40), torch.rand(1, 2, 41, 40))
    with pytest.raises(ValueError, match="at least 7 pixels"):
        structural_similarity(torch.rand(1, 1, 6, 40), torch.rand(1, 2, 6, 40))


def test_edge_angles_of_a_volume_are_refused() -> None:
    with pytest.raises(ValueError, match="slice by slice"):
        edge_preservation(torch.rand(1, 1, 8, 8, 8), torch.rand(1, 2, 8, 8, 8))


def test_images_with_geometry_give_plain_scores(rng: np.random.Generator) -> None:
    fused, sources = example(rng)
    score = mutual_information(MetaTensor(fused), MetaTensor(sources), 255)
    assert type(score) is torch.Tensor
    assert score == mutual_information(fused, sources, 255)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", FUSION_SCORES)
def test_scores_agree_on_cuda(rng: np.random.Generator, name: str) -> None:
    fused, sources = example(rng, batch=2)
    there = FUSION_SCORES[name](fused.cuda(), sources.cuda(), 255)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), FUSION_SCORES[name](fused, sources, 255))


def test_mutual_information_of_whole_levels_is_that_of_the_same_levels_in_another_range(
    rng: np.random.Generator,
) -> None:
    fused, sources = (x.round() for x in example(rng, batch=2))
    expected = mutual_information(fused / 255, sources / 255, mask=torch.ones_like(fused))
    torch.testing.assert_close(mutual_information(fused / 255, sources / 255), expected)
    for kind in (torch.float32, torch.float64, torch.uint8):
        torch.testing.assert_close(mutual_information(fused.to(kind), sources.to(kind), 255), expected)
    torch.testing.assert_close(
        mutual_information(fused.to(torch.uint8), sources + 0.25, 255), mutual_information(fused, sources + 0.25, 255)
    )
