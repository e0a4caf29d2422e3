"""The fusion metric: slices, cases, and a place in an evaluator described by a config."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, MetricsSaver

from spinefuse_ext.metrics import (
    FUSION_SCORES,
    FusionMetric,
    entropy,
    mutual_information,
    spatial_frequency,
    visual_information_fidelity,
)

SHAPE = (5, 44, 42)


class Brightest(torch.nn.Module):
    """The larger of both sources: ``(B, 2, *S) -> (B, 1, *S)``."""

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        return pair.amax(1, keepdim=True)


def rate(
    metric: FusionMetric, fused: torch.Tensor | list[torch.Tensor], pair: torch.Tensor | list[torch.Tensor]
) -> torch.Tensor:
    """Let the metric score a batch, or a list of cases, and give the ``(B, 1)`` scores."""
    scores = metric(fused, pair)
    assert isinstance(scores, torch.Tensor)
    return scores


def whole_levels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape) / 255


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_scores_the_mean_of_its_slices(axis: int) -> None:
    fused, pair = whole_levels(2, 1, 4, 5, 6), whole_levels(2, 2, 4, 5, 6)
    scores = rate(FusionMetric("spatial_frequency", slice_axis=axis), fused, pair)
    expected = torch.stack([spatial_frequency(f, None) for f in fused.unbind(axis + 2)]).mean(0)
    assert scores.shape == (2, 1)
    torch.testing.assert_close(scores[:, 0], expected)


def test_without_a_slice_axis_the_volume_is_scored_as_a_whole() -> None:
    fused, pair = whole_levels(1, 1, 4, 5, 6), whole_levels(1, 2, 4, 5, 6)
    whole = rate(FusionMetric("entropy", slice_axis=None), fused, pair)
    torch.testing.assert_close(whole[:, 0], entropy(fused, pair))
    assert whole.item() > rate(FusionMetric("entropy", slice_axis=0), fused, pair).item()


def test_many_slices_score_as_they_do_one_by_one() -> None:
    fused, pair = whole_levels(1, 1, 19, 6, 7), whole_levels(1, 2, 19, 6, 7)
    expected = mutual_information(fused[0].movedim(1, 0), pair[0].movedim(1, 0)).mean()
    torch.testing.assert_close(rate(FusionMetric("mutual_information"), fused, pair)[0, 0], expected)


def test_images_are_scored_as_they_are() -> None:
    fused, pair = whole_levels(3, 1, 44, 42), whole_levels(3, 2, 44, 42)
    scores = rate(FusionMetric("visual_information_fidelity", slice_axis=2), fused, pair)
    torch.testing.assert_close(scores[:, 0], visual_information_fidelity(fused, pair))


@pytest.mark.parametrize("name", FUSION_SCORES)
def test_every_score_is_found_by_name(name: str) -> None:
    pair = whole_levels(1, 2, *SHAPE)
    assert torch.isfinite(rate(FusionMetric(name), pair.mean(1, keepdim=True), pair)).all()


@pytest.mark.parametrize("bone_level", [0.3, 0.8])
def test_bone_begins_where_the_metric_is_told(bone_level: float) -> None:
    pair = whole_levels(1, 2, *SHAPE)
    fused = torch.where(pair[:, :1] >= bone_level, 0.5 * pair[:, :1], pair[:, 1:])
    bone, soft = (
        rate(FusionMetric(name, bone_level=bone_level), fused, pair).item()
        for name in ("bone_brightness", "soft_tissue_correlation")
    )
    assert bone == pytest.approx(0.5, abs=0.01)  # halves are rounded to whole levels
    assert soft == pytest.approx(1)


def test_slices_that_lack_a_source_are_skipped() -> None:
    pair = whole_levels(1, 2, *SHAPE)
    pair[:, 0, 0] = 0  # no CT
    pair[:, 1, 1] = 0.5  # no MR
    fused = pair.mean(1, keepdim=True)
    kept = rate(FusionMetric("mutual_information"), fused[:, :, 2:], pair[:, :, 2:])
    torch.testing.assert_close(rate(FusionMetric("mutual_information"), fused, pair), kept)


def test_slices_without_a_defined_score_are_left_out() -> None:
    pair = whole_levels(1, 2, *SHAPE)
    fused = pair.mean(1, keepdim=True)
    fused[:, :, 0] = pair[:, :1, 0]  # fused is CT: no correlation of differences
    metric = FusionMetric("sum_of_correlations_of_differences")
    torch.testing.assert_close(rate(metric, fused, pair), rate(metric, fused[:, :, 1:], pair[:, :, 1:]))


@pytest.mark.parametrize("axis", [0, None])
def test_a_case_that_is_not_finite_is_nan_and_left_out_of_the_mean(axis: int | None) -> None:
    metric = FusionMetric("entropy", slice_axis=axis)
    pair = whole_levels(2, 2, *SHAPE)
    fused = pair.mean(1, keepdim=True)
    fused[0, 0, 2, 3, 4] = math.nan
    scores = rate(metric, fused, pair)
    assert math.isnan(scores[0, 0])
    assert metric.aggregate() == scores[1, 0]


def test_a_case_without_foreground_is_nan_and_so_is_a_mean_over_nothing_else() -> None:
    metric = FusionMetric("entropy")
    rate(metric, torch.zeros(1, 1, *SHAPE), torch.zeros(1, 2, *SHAPE))
    assert math.isnan(metric.aggregate())


def test_mutual_information_of_a_network_output_is_that_of_its_8_bit_image() -> None:
    pair = torch.rand(1, 2, 50, 50)
    fused = pair.mean(1, keepdim=True)
    rounded = mutual_information((fused * 255).round() / 255, (pair * 255).round() / 255)
    torch.testing.assert_close(rate(FusionMetric("mutual_information"), fused, pair)[:, 0], rounded)
    literal = rate(FusionMetric("mutual_information", eight_bit=False), fused, pair)
    torch.testing.assert_close(literal[:, 0], mutual_information(fused, pair))
    assert literal.item() > rounded.item() + 1


@pytest.mark.parametrize("eight_bit", [True, False])
def test_the_data_range_is_that_of_the_images(eight_bit: bool) -> None:
    fused, pair = whole_levels(1, 1, *SHAPE), whole_levels(1, 2, *SHAPE)
    twelve_bit = FusionMetric("spatial_frequency", data_range=4095, eight_bit=eight_bit)
    torch.testing.assert_close(
        rate(twelve_bit, fused * 4095, pair * 4095), rate(FusionMetric("spatial_frequency"), fused, pair)
    )


def test_the_convention_reaches_the_score() -> None:
    pair = whole_levels(1, 2, *SHAPE)
    metric = FusionMetric("mutual_information", convention="paper")
    torch.testing.assert_close(rate(metric, pair[:, :1], pair), rate(metric, pair[:, 1:] * 0, pair))


def test_a_function_of_ones_own_can_be_the_score() -> None:
    def brightest(fused: torch.Tensor, sources: torch.Tensor, data_range: float, convention: str) -> torch.Tensor:
        return fused.flatten(1).amax(1) / data_range

    pair = whole_levels(1, 2, 6, 7)
    fused = torch.full((1, 1, 6, 7), 0.2)
    assert rate(FusionMetric(brightest), fused, pair).item() == pytest.approx(0.2)


def test_reset_forgets_the_cases() -> None:
    metric = FusionMetric("entropy")
    rate(metric, [whole_levels(1, *SHAPE)] * 2, [whole_levels(2, *SHAPE)] * 2)
    assert metric.get_buffer().shape == (2, 1)  # type: ignore[no-untyped-call]
    metric.reset()  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="No case was scored"):
        metric.aggregate()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="entropy"):
        FusionMetric("entropie")
    with pytest.raises(ValueError, match="slice_axis 0, 1, 2 or None, got 3"):
        FusionMetric("entropy", slice_axis=3)
    with pytest.raises(ValueError, match="evaluator"):
        FusionMetric("entropy", convention="evaluater")
    with pytest.raises(ValueError, match="Expected the pair"):
        FusionMetric("entropy")(torch.zeros(1, 1, *SHAPE))
    with pytest.raises(ValueError, match="Expected sources"):
        FusionMetric("entropy")(torch.zeros(2, 1, *SHAPE), torch.zeros(1, 2, *SHAPE))


def handler_config(name: str) -> dict[str, Any]:
    return {
        "_target_": "IgniteMetricHandler",
        "metric_fn": {"_target_": "spinefuse_ext.metrics.FusionMetric", "metric": name},
        "output_transform": {"_target_": "monai.handlers.from_engine", "keys": ["pred", "image"]},
        "save_details": True,
    }


def test_an_evaluator_built_from_a_config_reports_the_mean_and_every_case(tmp_path: Path) -> None:
    names = ("visual_information_fidelity", "mutual_information")
    parser = ConfigParser({name: handler_config(name) for name in names})
    handlers: dict[str, IgniteMetricHandler] = {name: parser.get_parsed_content(name) for name in names}
    pairs = whole_levels(3, 2, *SHAPE)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([{"image": pair} for pair in pairs]), batch_size=2),
        network=Brightest(),
        key_val_metric={names[0]: handlers[names[0]]},
        additional_metrics={names[1]: handlers[names[1]]},
        val_handlers=[MetricsSaver(str(tmp_path), metric_details="*", batch_transform=lambda _: [])],
    )
    for _ in range(2):  # the second run starts from nothing
        evaluator.run()
    fused = pairs.amax(1, keepdim=True).movedim(2, 1)
    for name in names:
        details = evaluator.state.metric_details[name]
        slices = [FUSION_SCORES[name](f, pair.movedim(1, 0)).mean() for f, pair in zip(fused, pairs, strict=True)]
        torch.testing.assert_close(details[:, 0], torch.stack(slices))
        assert evaluator.state.metrics[name] == pytest.approx(details.mean().item())
        assert len((tmp_path / f"{name}_raw.csv").read_text().splitlines()) == 1 + len(pairs)
