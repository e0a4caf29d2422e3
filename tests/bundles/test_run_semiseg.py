from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser, ConfigWorkflow

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.metrics import segmentation_table
from spinefuse_ext.verbs.commands import segment

pytestmark = pytest.mark.slow

CANVAS: dict[str, Any] = {"canvas": [64, 80]}
TRAINING: dict[str, Any] = {**CANVAS, "epochs": 6, "crops_per_case": 8, "val_interval": 3, "learning_rate": 0.03}


def volume(path: Path | str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_filename(path)


@dataclass
class Run:
    """A finished training: its folder, and every step's output by name."""

    folder: Path
    steps: dict[str, list[float]] = field(default_factory=dict)

    @property
    def checkpoint(self) -> str:
        return str(self.folder / "models" / "model.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, workflow: Callable[..., ConfigWorkflow]) -> Run:
    run = Run(tmp_path_factory.mktemp("semiseg"))
    places = {"ckpt_dir": str(run.folder / "models"), "output_dir": str(run.folder / "eval")}
    made = workflow("spine_semiseg", "train.json", **places, **TRAINING)
    assert made.check_properties() == []
    trainer = made.parser.get_parsed_content("train#trainer")

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        output = output[0] if isinstance(output, list) else output
        for name in ("supervised_loss", "rectification_loss", "consistency_loss", "consistency_weight"):
            run.steps.setdefault(name, []).append(float(output[name]))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    made.run()
    made.finalize()
    return run


def test_training_learns_from_the_labels_and_uses_the_unlabelled_cases(trained: Run) -> None:
    steps = {name: np.array(values) for name, values in trained.steps.items()}
    assert all(np.isfinite(values).all() for values in steps.values())
    assert steps["supervised_loss"][-8:].mean() < 0.7 * steps["supervised_loss"][:8].mean()
    assert (steps["consistency_loss"] > 0).any()
    assert steps["consistency_weight"][-1] == pytest.approx(1.0, rel=0.01)  # the ramp has ended at its maximum
    assert steps["consistency_weight"][0] < 0.1
    assert {re.sub(r"\d+", "N", path.name) for path in (trained.folder / "models").iterdir()} == {
        *("model.pt", "model_final.pt", "training_epoch_N.pt")
    }
    assert {path.parent.name for path in trained.folder.rglob("events.out*")} == {"train", "validate"}


def test_fine_tuning_begins_with_given_weights(
    trained: Run, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    settings = {**TRAINING, "epochs": 1, "learning_rate": 1e-12, "weights": trained.checkpoint}
    made = workflow("spine_semiseg", "train.json", "fine_tune.json", **places, **settings)
    learnt = [name for name, _ in made.parser.get_parsed_content("network_def").named_parameters()]
    made.run()
    before, after = (torch.load(path) for path in (trained.checkpoint, tmp_path / "models" / "model_final.pt"))
    for name in learnt:
        torch.testing.assert_close(after[name], before[name])


def test_evaluation_gives_dice_and_jaccard_of_every_class_and_case(
    trained: Run, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    made = workflow(
        *("spine_semiseg", "train.json", "evaluate.json"),
        checkpoint=trained.checkpoint,
        output_dir=str(tmp_path),
        sections=["validation", "test"],
        **CANVAS,
    )
    assert made.check_properties() == []
    made.run()
    tables = {name: list(csv.reader((tmp_path / f"{name}_raw.csv").open())) for name in _METRICS}
    for table in tables.values():
        assert [row[0] for row in table[1:]] == ["case_4", "case_5"]
        assert len(table[1]) == 1 + len(STRUCTURES) - 1 + 1  # the case, a column per structure, their mean
    dice, jaccard = (np.array([row[1:-1] for row in tables[name][1:]], dtype=float) for name in _METRICS)
    assert dice[0].max() > 0.3  # the validation case looks as the labelled ones do
    np.testing.assert_allclose(jaccard, dice / (2 - dice), atol=1e-5)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert {row["checkpoint"] for row in rows} == {"model.pt"}
    found = {name: [row for row in rows if row["network"] == name] for name in ("mean", "unet", "vnet")}
    assert sum(map(len, found.values())) == len(rows) == 3 * dice.size
    np.testing.assert_allclose([float(row["dice"]) for row in found["mean"]], dice.ravel(), atol=1e-4)
    assert [row["dice"] for row in found["unet"]] != [row["dice"] for row in found["vnet"]]
    summary = list(csv.DictReader((tmp_path / "summary.csv").open(encoding="utf-8")))
    assert {row["structure"] for row in summary} == {*STRUCTURES.values(), "mean"} - {"background"}


def test_the_last_checkpoint_scores_as_what_inference_writes_of_each_network(
    trained: Run, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    last = {"checkpoint": str(trained.folder / "models" / "model_final.pt"), "sections": ["test"], **CANVAS}
    workflow("spine_semiseg", "train.json", "evaluate.json", output_dir=str(tmp_path / "eval"), **last).run()
    rows = list(csv.DictReader((tmp_path / "eval" / "scores.csv").open(encoding="utf-8")))
    assert {row["checkpoint"] for row in rows} == {"model_final.pt"}
    infer = {"workflow_type": "inference", "output_dir": str(tmp_path / "out"), "save_subnetworks": True}
    workflow("spine_semiseg", "inference.json", **infer, **last).run()
    for network, name in (("mean", "prediction"), ("unet", "prediction_unet"), ("vnet", "prediction_vnet")):
        files = tmp_path / "out" / "case_5" / f"{name}.nii.gz", cohort / "case_5" / "label.nii.gz"
        for structure, scores in segmentation_table(*files).items():
            (row,) = (row for row in rows if (row["network"], row["structure"]) == (network, structure))
            assert {score: float(row[score]) for score in scores} == pytest.approx(scores, rel=1e-4, nan_ok=True)


_METRICS = ("val_mean_dice", "val_mean_iou")


@pytest.fixture(scope="module")
def predicted(
    trained: Run, workflow: Callable[..., ConfigWorkflow], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("predicted")
    made = workflow(
        *("spine_semiseg", "inference.json"),
        workflow_type="inference",
        checkpoint=trained.checkpoint,
        output_dir=str(out),
        sections=["validation", "test"],
        **CANVAS,
    )
    assert made.check_properties() == []
    made.run()
    assert [path.name for path in out.rglob(".*")] == []
    return {path.parent.name: path for path in out.rglob("prediction.nii.gz")}


@pytest.mark.parametrize("case", ["case_4", "case_5"])
def test_label_volume_lies_on_the_grid_of_the_image_as_stored(
    case: str, predicted: dict[str, Path], cohort: Path
) -> None:
    source, label = (
        volume(cohort / case / "fused.nii.gz"),
        volume(predicted[case]),
    )
    assert nib.aff2axcodes(source.affine) == {"case_4": ("R", "A", "S"), "case_5": ("P", "I", "L")}[case]
    assert label.shape == source.shape
    np.testing.assert_allclose(label.affine, source.affine, atol=1e-5)
    assert label.get_data_dtype() == np.uint8
    found = set(np.unique(np.asarray(label.dataobj)))
    assert {0} < found <= set(STRUCTURES)


def test_all_that_is_written_lies_on_an_oblique_grid_as_stored(
    trained: Run, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    source = volume(cohort / "case_5" / "fused.nii.gz")
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.1))
    image = nib.Nifti1Image(np.asarray(source.dataobj), turn @ source.affine)
    (tmp_path / "cases" / "p1").mkdir(parents=True)
    nib.save(image, tmp_path / "cases" / "p1" / "fused.nii.gz")
    made = workflow(
        *("spine_semiseg", "inference.json"),
        workflow_type="inference",
        checkpoint=trained.checkpoint,
        dataset_dir=str(tmp_path / "cases"),
        output_dir=str(tmp_path / "out"),
        save_subnetworks=True,
        **{"dataset#data": [{"fused": str(tmp_path / "cases" / "p1" / "fused.nii.gz")}], **CANVAS},
    )
    made.run()
    written = {path.name.split(".")[0]: path for path in (tmp_path / "out" / "p1").iterdir()}
    assert set(written) == {"prediction", "prediction_unet", "prediction_vnet", "disagreement", "trust"}
    trust = json.loads(written.pop("trust").read_text(encoding="utf-8"))
    volumes = {name: volume(path) for name, path in written.items()}
    for one in volumes.values():
        assert (one.shape, one.get_data_dtype()) == (image.shape, np.uint8)
        np.testing.assert_allclose(one.affine, image.affine, atol=1e-4)
    labels = {name: np.asarray(one.dataobj) for name, one in volumes.items()}
    differ = labels["prediction_unet"] != labels["prediction_vnet"]
    np.testing.assert_array_equal(labels["disagreement"], differ)
    assert differ.any()
    assert np.isin(labels["prediction"][~differ], [*STRUCTURES]).all()
    np.testing.assert_array_equal(labels["prediction"][~differ], labels["prediction_unet"][~differ])
    pair = written["prediction_unet"], written["prediction_vnet"]
    ways = segmentation_table(*pair), segmentation_table(*pair[::-1])  # what only the first holds has no score
    for structure, scores in trust["structures"].items():
        found = math.nan if scores["agreement"] is None else scores["agreement"]
        dice = [way[structure]["dice"] for way in ways]
        assert found == pytest.approx(dice[math.isnan(dice[0])], abs=1e-6, nan_ok=True)


def test_a_single_network_runs_with_the_same_config(
    workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    unet = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 5, "channels": [4, 8]}
    single = {"_target_": "spinefuse_ext.networks.SingleSegNet", "network": {**unet, "strides": [2]}}
    network = ConfigParser({"network": single}).get_parsed_content("network")
    torch.save(network.state_dict(), tmp_path / "single.pt")
    settings = {"network_def": single, "checkpoint": str(tmp_path / "single.pt"), "sections": ["test"], **CANVAS}
    infer = {"workflow_type": "inference", "output_dir": str(tmp_path / "out")}
    workflow("spine_semiseg", "inference.json", **infer, **settings).run()
    written = {path.name for path in (tmp_path / "out" / "case_5").iterdir()}
    assert written == {"prediction.nii.gz", "trust.json"}
    trust = json.loads((tmp_path / "out" / "case_5" / "trust.json").read_text(encoding="utf-8"))
    assert {scores["agreement"] for scores in trust["structures"].values()} == {None}
    evaluate = {"output_dir": str(tmp_path / "eval"), "ckpt_dir": str(tmp_path)}
    workflow("spine_semiseg", "train.json", "evaluate.json", **evaluate, **settings).run()
    rows = list(csv.DictReader((tmp_path / "eval" / "scores.csv").open(encoding="utf-8")))
    assert [row["network"] for row in rows] == ["single"] * 4


@pytest.mark.parametrize("case", ["case_4", "case_5"])
def test_labels_lie_where_the_truth_is(case: str, predicted: dict[str, Path], cohort: Path) -> None:
    """A volume that came back mirrored or with swapped axes would miss the off-centre ellipsoids."""
    truth, label = (np.asarray(volume(path).dataobj) > 0 for path in (cohort / case / "label.nii.gz", predicted[case]))
    dice = 2 * (truth & label).sum() / (truth.sum() + label.sum())
    assert dice > 0.6


def test_another_voxel_size_for_the_network_still_gives_the_stored_grid(
    trained: Run, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    made = workflow(
        *("spine_semiseg", "inference.json"),
        workflow_type="inference",
        checkpoint=trained.checkpoint,
        output_dir=str(tmp_path),
        sections=["test"],
        spacing_mm=[3.0, 1.25, 0.75],
        **CANVAS,
    )
    made.run()
    image = made.parser.get_parsed_content("dataset")[0]["image"]
    np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine.numpy()), [3.0, 1.25, 0.75], rtol=1e-5)
    source, label = (
        volume(cohort / "case_5" / "fused.nii.gz"),
        volume(tmp_path / "case_5" / "prediction.nii.gz"),
    )
    assert label.shape == source.shape
    np.testing.assert_allclose(label.affine, source.affine, atol=1e-5)
    assert set(np.unique(np.asarray(label.dataobj))) <= set(STRUCTURES)


def test_segment_command_labels_one_image(
    trained: Run, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image = cohort / "case_5" / "fused.nii.gz"
    segment(str(image), "out", checkpoint=trained.checkpoint, device="cpu", **CANVAS)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"out/prediction.nii.gz", "out/disagreement.nii.gz", "out/trust.json"}
    assert volume("out/prediction.nii.gz").shape == volume(image).shape
    assert "$ python -m monai.bundle run --config_file" in capfd.readouterr().out
