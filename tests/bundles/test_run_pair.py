"""Networks of CT and MR: one for either or both, one that learns the fusion, one that sees its features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.plain_errors import own_error
from spinefuse_ext.validation import ImageReadError

pytestmark = pytest.mark.slow

BUNDLE = "spine_semiseg"
NARROW = [4, 8, 16, 32, 64]
SMALL: dict[str, Any] = {"canvas": [64, 80], "unet_channels": NARROW, "vnet_channels": NARROW}
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]] = {
    "pair": (("pair.json",), ("modality_dropout.json",), {}),
    "task": (("task_fusion.json",), ("task_fusion_train.json",), {}),
    "features": (("pair_features.json",), (), {"fusion_dim": 4}),
}


def labels_of(folder: Path) -> np.ndarray:
    (path,) = folder.rglob("prediction.nii.gz")
    voxels: np.ndarray = np.asarray(nib.Nifti1Image.from_filename(path).dataobj)
    return voxels


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_is_scored_and_labels(
    kind: str, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    deltas, training_deltas, more = KINDS[kind]
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    training = {"epochs": 2, "crops_per_case": 2, "val_interval": 2, **places}
    made = workflow(BUNDLE, "train.json", *deltas, *training_deltas, **SMALL, **more, **training)
    trainer = made.parser.get_parsed_content("train#trainer")
    terms: list[set[str]] = []

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        terms.append({name for name, value in output[0].items() if name.endswith("loss") and float(value) > 0})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    made.run()
    made.finalize()
    assert all("supervised_loss" in step for step in terms)
    assert all(("fused_loss" in step) == (kind == "task") for step in terms)
    checkpoint = str(tmp_path / "models" / "model.pt")
    scores = {"checkpoint": checkpoint, "output_dir": str(tmp_path / "scores"), **SMALL, **more}
    workflow(BUNDLE, "train.json", "evaluate.json", *deltas, **scores).run()
    assert (tmp_path / "scores" / "val_mean_dice_raw.csv").is_file()
    results = {}
    for name, keys in (("both", ("ct", "mr")), ("ct", ("ct",)), ("mr", ("mr",))):
        item = {key: str(cohort / "case_4" / f"{key}.nii.gz") for key in keys}
        settings = {"checkpoint": checkpoint, "output_dir": str(tmp_path / name), "dataset#data": [item]}
        workflow(BUNDLE, "inference.json", *deltas, workflow_type="inference", **settings, **SMALL, **more).run()
        results[name] = labels_of(tmp_path / name)
        assert results[name].shape == (10, 64, 72)
        assert set(np.unique(results[name])) <= {0, *STRUCTURES}


def test_cases_with_one_image_are_learnt_from_and_one_without_any_is_refused(
    workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    datalist = json.loads((cohort / "datalist.json").read_text(encoding="utf-8"))
    del datalist["labelled"][0]["mr"]
    del datalist["unlabelled"][1]["ct"]
    (tmp_path / "some.json").write_text(json.dumps(datalist), encoding="utf-8")
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    training = {"epochs": 1, "crops_per_case": 1, "val_interval": 1, "datalist": str(tmp_path / "some.json"), **places}
    workflow(BUNDLE, "train.json", "pair.json", **SMALL, **training).run()
    del datalist["labelled"][0]["ct"]
    (tmp_path / "none.json").write_text(json.dumps(datalist), encoding="utf-8")
    made = workflow(BUNDLE, "train.json", "pair.json", **SMALL, **{**training, "datalist": str(tmp_path / "none.json")})
    with pytest.raises(RuntimeError) as raised:
        made.run()
    assert isinstance(own_error(raised.value), ImageReadError)
    assert "Expected one of the images ct, mr" in str(own_error(raised.value))
