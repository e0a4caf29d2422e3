from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from spinefuse_ext.bundle.commands import segment
from spinefuse_ext.labels import STRUCTURES

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
    assert steps["consistency_weight"][-1] == pytest.approx(0.1, rel=0.01)  # the ramp has ended at its maximum
    assert steps["consistency_weight"][0] < 0.01
    assert {path.name for path in (trained.folder / "models").iterdir()} == {"model.pt", "model_final.pt"}
    assert {path.parent.name for path in trained.folder.rglob("events.out*")} == {"train", "validate"}


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
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "out/prediction.nii.gz"
    ]
    assert volume("out/prediction.nii.gz").shape == volume(image).shape
    assert "$ python -m monai.bundle run --config_file" in capfd.readouterr().out
