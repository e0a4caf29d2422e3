from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler
from torch import nn

from spinefuse_ext.handlers import fusion_scores
from spinefuse_ext.metrics import FUSION_SCORES, READER_SCORES, FusionMetric
from spinefuse_ext.validation import ConfigError

CONFIGS = Path(__file__).parents[2] / "bundles" / "spine_fusion" / "configs"


class Brightest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax(1, keepdim=True)


def _evaluate(handlers: dict[str, IgniteMetricHandler], pair: torch.Tensor) -> dict[str, Any]:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([{"image": pair}]), batch_size=1),
        network=Brightest(),
        key_val_metric=dict(handlers),
    )
    evaluator.run()
    return dict(evaluator.state.metrics)


def test_each_score_is_that_of_its_metric_in_a_run() -> None:
    pair = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0))
    found = _evaluate(fusion_scores(["entropy", "bone_order"], ct_window_hu=[-200, 1000]), pair)
    fused = pair.amax(0, keepdim=True)[None]
    expected = FusionMetric("entropy")(fused, pair[None])
    assert list(found) == ["val_entropy", "val_bone_order"]
    assert found["val_entropy"] == pytest.approx(float(torch.as_tensor(expected)))


def test_bone_begins_where_the_window_says() -> None:
    pair = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0))
    scores = [
        _evaluate(fusion_scores(["soft_tissue_correlation"], ct_window_hu=[-200, end]), pair) for end in (400, 2000)
    ]
    assert scores[0] != scores[1]


def test_all_scores_without_a_choice() -> None:
    assert list(fusion_scores()) == [f"val_{name}" for name in (*FUSION_SCORES, *READER_SCORES)]


def test_a_handler_of_ones_own_joins_and_wins() -> None:
    own = next(iter(fusion_scores(["visibility"]).values()))
    handlers = fusion_scores(["entropy"], further={"val_entropy": own, "val_own": own})
    assert handlers == {"val_entropy": own, "val_own": own}


def test_refuses_a_score_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="The setting scores cannot be 'entropie'; did you mean 'entropy'"):
        fusion_scores(["entropie"])


def test_the_evaluation_of_the_bundle_rates_all_but_its_key_metric() -> None:
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.json", CONFIGS / "evaluate.json"])
    handlers = parser.get_parsed_content("validate#additional_metrics")
    every = {f"val_{name}" for name in (*FUSION_SCORES, *READER_SCORES)}
    assert set(handlers) | set(parser["validate#key_metric"]) == every
