"""The rivals of the competing pair, each by its file on the same configs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow, verify_net_in_out

from spinefuse_ext.labels import STRUCTURES

BUNDLES = Path(__file__).parents[2] / "bundles"
BUNDLE = "spine_semiseg"
CANVAS: dict[str, Any] = {"canvas": [64, 80]}
TERMS = {
    "sassnet": ("supervised_loss", "distance_loss", "adversarial_loss", "discriminator_loss"),
    "min_max_similarity": ("structure_loss", "similarity_loss", "contrast_loss", "separation_loss"),
}
NARROW = [4, 8, 16, 32, 64]
SMALL: dict[str, dict[str, Any]] = {
    "sassnet": {"network_def#network#channels": NARROW},
    "min_max_similarity": {"network_def#unet#channels": NARROW, "network_def#vnet#channels": NARROW},
}
each_method = pytest.mark.parametrize("method", TERMS)


@each_method
@pytest.mark.parametrize("config", ["train.json", "inference.json"])
def test_a_rival_takes_and_gives_what_the_metadata_says(method: str, config: str) -> None:
    folder = BUNDLES / BUNDLE / "configs"
    files = [str(folder / config), str(folder / f"{method}.json")]
    given = {"checkpoint": "$None", **SMALL[method]}  # random weights; MONAI drops a plain None
    verify_net_in_out("network", str(folder / "metadata.json"), files, device="cpu", n=1, **given)


@pytest.mark.slow
@each_method
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_rival_trains_is_scored_and_labels(
    method: str, spatial_dims: int, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    canvas = CANVAS if spatial_dims == 2 else {"canvas": [16, 32, 32], "sw_batch_size": 1}
    shape = {**canvas, **SMALL[method], "spatial_dims": spatial_dims}
    training = {"epochs": 2, "crops_per_case": 2, "val_interval": 2}
    made = workflow(BUNDLE, "train.json", f"{method}.json", **places, **training, **shape)
    assert made.check_properties() == []
    trainer = made.parser.get_parsed_content("train#trainer")
    steps: list[dict[str, float]] = []

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        steps.append({name: float(output[0][name]) for name in TERMS[method]})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    made.run()
    made.finalize()
    assert len(steps) == 4
    assert all(np.isfinite(value) and value > 0 for step in steps for value in step.values())  # both halves each time
    checkpoint = str(tmp_path / "models" / "model.pt")
    scores = {"checkpoint": checkpoint, "output_dir": str(tmp_path / "scores"), **shape}
    workflow(BUNDLE, "train.json", "evaluate.json", f"{method}.json", **scores).run()
    assert (tmp_path / "scores" / "val_mean_dice_raw.csv").is_file()
    labels = {"checkpoint": checkpoint, "output_dir": str(tmp_path / "labels"), **shape}
    workflow(BUNDLE, "inference.json", f"{method}.json", workflow_type="inference", **labels).run()
    (path,) = (tmp_path / "labels").rglob("prediction.nii.gz")
    assert set(np.unique(np.asarray(nib.Nifti1Image.from_filename(path).dataobj))) <= {0, *STRUCTURES}


OTHERS = {
    **dict.fromkeys(("mcf", "ua_mt", "mean_teacher", "cps", "bcp"), ("supervised_loss", "consistency_loss")),
    **dict.fromkeys(("supervised_unet", "supervised_vnet"), ("supervised_loss",)),
}
WIDTHS = {"unet_channels": NARROW, "vnet_channels": NARROW}


@pytest.mark.slow
@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_other_method_trains_by_its_file_and_labels_with_it(
    method: str, spatial_dims: int, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    canvas = CANVAS if spatial_dims == 2 else {"canvas": [16, 32, 32], "sw_batch_size": 1}
    shape = {**canvas, **WIDTHS, "spatial_dims": spatial_dims}
    made = workflow(
        BUNDLE, "train.json", f"{method}.json", **places, **shape, epochs=2, crops_per_case=2, val_interval=2
    )
    trainer = made.parser.get_parsed_content("train#trainer")
    steps: list[dict[str, float]] = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def note(engine: Any) -> None:
        steps.append({name: float(engine.state.output[0][name]) for name in OTHERS[method]})

    made.run()
    made.finalize()
    assert len(steps) == 4  # a supervised control takes as many
    assert all(np.isfinite(value) for step in steps for value in step.values())
    assert all(value > 0 for value in steps[-1].values())
    labels = {"checkpoint": str(tmp_path / "models" / "model.pt"), "output_dir": str(tmp_path / "labels"), **shape}
    workflow(BUNDLE, "inference.json", f"{method}.json", workflow_type="inference", **labels).run()
    (path,) = (tmp_path / "labels").rglob("prediction.nii.gz")
    assert set(np.unique(np.asarray(nib.Nifti1Image.from_filename(path).dataobj))) <= {0, *STRUCTURES}


@pytest.mark.slow
def test_cases_that_are_labelled_in_part_train_and_are_scored(
    cohort: Path, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    cases = tmp_path / "cases"
    shutil.copytree(cohort, cases)
    for name in ("case_0", "case_4"):  # one to learn from, one to validate with
        path = cases / name / "label.nii.gz"
        image = nib.Nifti1Image.from_filename(path)
        voxels = np.asarray(image.dataobj).copy()
        voxels[:, :32] = 255
        nib.save(nib.Nifti1Image(voxels, image.affine), path)
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(cases)}
    settings: dict[str, Any] = {**CANVAS, **WIDTHS, "epochs": 1, "crops_per_case": 2, "val_interval": 1}
    made = workflow(BUNDLE, "train.json", **places, **settings, ignore_index=255)
    made.run()
    made.finalize()
    evaluated = {**places, **CANVAS, **WIDTHS, "ignore_index": 255, "output_dir": str(tmp_path / "scores")}
    workflow(BUNDLE, "train.json", "evaluate.json", **evaluated).run()
    assert (tmp_path / "scores" / "scores.csv").is_file()
    with pytest.raises(RuntimeError) as refused:
        workflow(BUNDLE, "train.json", **places, **settings).run()
    assert re.search(
        r"case_0/label\.nii\.gz holds the values 255, .* map them by relabel, .* set ignore_index",
        str(refused.value.__cause__),
    )
