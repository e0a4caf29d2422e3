"""The examples of the page on what a config exchanges, trained and evaluated."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.networks.nets import BasicUNet

from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.runs.run import run_bundle

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "contract.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FUSION = [block for block in BLOCKS if "train#fusion_loss" in block]
SEGMENTATION = [block for block in BLOCKS if block not in FUSION]
SMALL: dict[str, Any] = {"epochs": 1, "crops_per_case": 2, "val_interval": 1, "batch_size": 2, "cache": "none"}

Make = Callable[..., ConfigWorkflow]


@pytest.fixture
def deltas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The segmentation's examples as files, and its Python module where Python finds it."""
    (tmp_path / "my_parts.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = []
    for number, block in enumerate(SEGMENTATION):
        files.append(tmp_path / f"delta_{number}.json")
        files[-1].write_text(json.dumps(block))
    yield [str(path) for path in files]
    sys.modules.pop("my_parts", None)


@pytest.mark.slow
def test_every_example_of_the_segmentation_trains_and_is_evaluated(
    workflow: Make, deltas: list[str], tmp_path: Path, cohort: Path
) -> None:
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    made = workflow("spine_semiseg", "train.json", *deltas, **places, **SMALL, canvas=[64, 80])
    trainer = made.parser.get_parsed_content("train#trainer")
    seen: list[dict[str, Any]] = []

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        seen.append(output[0] if isinstance(output, list) else dict(output))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    made.run()
    made.finalize()
    assert isinstance(made.parser.get_parsed_content("network_def").network, BasicUNet)
    assert seen
    assert all(float(output["supervised_loss"]) > 0 for output in seen)
    evaluator = made.parser.get_parsed_content("validate#evaluator")
    assert "val_hausdorff" in evaluator.state.metrics
    assert (tmp_path / "models" / "model.pt").is_file()
    settings = {
        **{"dataset_dir": str(cohort), "checkpoint": str(tmp_path / "models" / "model.pt"), "canvas": [64, 80]},
        **{"output_dir": str(tmp_path / "scores"), "device": "cpu"},
    }
    run_bundle(ROOT / "bundles" / "spine_semiseg", ["train.json", *deltas, "evaluate.json"], settings)
    assert (tmp_path / "scores" / "metrics.csv").is_file()


@pytest.mark.slow
def test_the_example_of_the_fusion_trains(workflow: Make, tmp_path: Path) -> None:
    (delta,) = FUSION
    (tmp_path / "delta.json").write_text(json.dumps(delta))
    small = {"network_def#dim": 8, "network_def#num_blocks": [1, 1], "network_def#num_heads": 2}
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    stages = {"stage1_epochs": 0, "stage3_epochs": 0, "canvas": [64, 80], "patch_size": [32, 32]}
    made = workflow("spine_fusion", "train.json", str(tmp_path / "delta.json"), **places, **SMALL, **small, **stages)
    trainer = made.parser.get_parsed_content("train#trainer")
    losses: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output[0]["fusion_loss"]))
    )
    made.run()
    made.finalize()
    assert losses
    assert all(0 < loss < 1 for loss in losses)


def test_a_plain_loss_in_a_config_is_refused_in_one_sentence_that_names_the_adapter(
    workflow: Make, tmp_path: Path
) -> None:
    """It was a traceback of 140 lines that ended in "Failed to evaluate ConfigExpression"."""
    loss = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True}
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    made = workflow("spine_semiseg", "train.json", **places, **SMALL, canvas=[64, 80], loss=loss)
    with pytest.raises(Exception, match=r"wrapped|Failed") as caught:
        made.run()
    told = plain_message(caught.value)
    assert told is not None
    assert "spinefuse_ext.losses.PlainLoss" in told
    assert "\n" not in told
    assert not (tmp_path / "models" / "model_final.pt").exists()


def test_a_setting_of_a_handler_outside_its_range_is_one_sentence(workflow: Make, tmp_path: Path) -> None:
    """``--method_handlers#2#temperature 0`` was a traceback of ``instantiate``."""
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    made = workflow("spine_semiseg", "train.json", **places, **SMALL, **{"method_handlers#2#temperature": 0})
    with pytest.raises(Exception, match=r"wrapped|Failed|instantiate") as caught:
        made.run()
    told = plain_message(caught.value)
    assert told is not None
    assert "temperature is a number above 0, got 0" in told
    assert "\n" not in told
