"""Fusion scores against the values of the evaluator behind published tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spinefuse_ext.metrics import FUSION_SCORES

Image = NDArray[np.floating[Any]]
SHORT_NAMES = {
    "EN": "entropy",
    "SD": "standard_deviation",
    "SF": "spatial_frequency",
    "AG": "average_gradient",
    "MI": "mutual_information",
    "SCD": "sum_of_correlations_of_differences",
    "VIF": "visual_information_fidelity",
    "Qabf": "edge_preservation",
    "SSIM": "structural_similarity",
}


def stretched_mean(a: Image, b: Image) -> Image:
    mean = (a + b) / 2
    return np.floor((mean - mean.min()) / (mean.max() - mean.min()) * 255 + 0.5)


RULES: dict[str, Callable[[Image, Image], Image]] = {
    "mean_rounded_half_up": lambda a, b: np.floor((a + b) / 2 + 0.5),
    "mean_float": lambda a, b: (a + b) / 2,
    "mean_minmax": stretched_mean,
    "max": np.maximum,
    "source_A": lambda a, b: a,
    "source_B": lambda a, b: b,
}


def images_of(name: str, case: dict[str, Any], inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if case["kind"] == "real":
        a, b = (inputs[case[key]].astype(np.float32) for key in "AB")
        fused = RULES[case["rule"]](a, b)
    else:
        a, b, fused = (inputs[f"{name}__{key}"] for key in "ABF")
    return torch.from_numpy(fused)[None, None], torch.from_numpy(np.stack((a, b)))[None]


@pytest.mark.assets
@pytest.mark.parametrize("data_range", [255.0, 1.0])
@pytest.mark.parametrize("short", SHORT_NAMES)
def test_score_equals_the_published_evaluator(assets: Path, short: str, data_range: float) -> None:
    folder = assets / "golden" / "fusion_metrics"
    cases = json.loads((folder / "metric_expected.json").read_text())["cases"]
    score = FUSION_SCORES[SHORT_NAMES[short]]
    with np.load(folder / "metric_inputs.npz") as inputs:
        for name, case in cases.items():
            fused, sources = (x / (255 / data_range) for x in images_of(name, case, inputs))
            expected = case["expected"][short]
            # the evaluator works in float32; NaN and infinity are stored as null
            assert score(fused, sources, data_range).item() == pytest.approx(
                float("nan") if expected is None else expected, rel=1e-5, abs=1e-6, nan_ok=True
            ), name
