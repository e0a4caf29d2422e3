"""Predictions by the bundle's own inference config, in this process: the network is loaded once for all cases."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor

from spinefuse_ext.benchmark.cases import Input
from spinefuse_ext.benchmark.cost import Cost, Meter
from spinefuse_ext.runs.run import BundleRun, open_workflow
from spinefuse_ext.validation import ConfigError
from spinefuse_ext.volumes.volume import read_volume

_FILES = {"prediction": "prediction.nii.gz", "trust": "trust.json"}


@dataclass(frozen=True)
class Prediction:
    """The files that the bundle wrote of an input."""

    folder: Path

    def labels(self) -> MetaTensor:
        """The predicted classes ``(1, X, Y, Z)``."""
        return read_volume(self.folder / _FILES["prediction"])

    def trust(self) -> dict[str, float]:
        """Trust by structure, NaN for one that was not found."""
        structures = json.loads((self.folder / _FILES["trust"]).read_text(encoding="utf-8"))["structures"]
        return {name: math.nan if row["trust"] is None else row["trust"] for name, row in structures.items()}


def predict(
    run: BundleRun, inputs: Sequence[Input], out: Path, done: Callable[[Input, Prediction, Cost], None]
) -> None:
    """Run ``inference.json`` on ``inputs``, which lie in folders ``CASE/VARIANT``; ``done`` hears of each at once.

    The items are those of ``spinefuse segment``: the image under the one key that the config expects, or under the
    key that the panel says (``image_keys`` is that key then). What a case costs is the time from the reading of its
    image to the writing of its prediction.

    Raises:
        ConfigError: the config takes several images.
        SpinefuseError: what the bundle itself refuses.
    """
    for key in dict.fromkeys(one.case.key for one in inputs):
        members = [one for one in inputs if one.case.key == key]
        _predict_under(run, members, out, done, key)


def _predict_under(
    run: BundleRun, inputs: Sequence[Input], out: Path, done: Callable[[Input, Prediction, Cost], None], key: str | None
) -> None:
    settings, keys = dict(run.settings), run.image_keys
    if key is not None:
        settings["image_keys"] = keys = [key]
    if len(keys) != 1:
        raise ConfigError(f"A benchmark has one image a case, but image_keys names {keys}; measure another bundle.")
    root = inputs[0].folder.parents[1]
    settings |= {
        "dataset_dir": str(root),
        "output_dir": str(out),
        "dataset#data": [{keys[0]: str(one.image)} for one in inputs],
    }
    with open_workflow(run.bundle, run.configs, settings) as workflow:
        _count(workflow, inputs, out, done)
        workflow.run()


def _count(
    workflow: ConfigWorkflow, inputs: Sequence[Input], out: Path, done: Callable[[Input, Prediction, Cost], None]
) -> None:
    """Let the evaluator of a workflow tell ``done`` of each input."""
    root = inputs[0].folder.parents[1]
    evaluator: Engine = workflow.parser.get_parsed_content("evaluator")
    meter, left = Meter(), iter(inputs)

    def finished() -> None:
        cost, one = meter.stop(), next(left)
        done(one, Prediction(out / one.folder.relative_to(root)), cost)

    evaluator.add_event_handler(Events.GET_BATCH_STARTED, meter.start)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, finished)
