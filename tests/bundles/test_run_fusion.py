from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

pytestmark = pytest.mark.slow

NETWORK: dict[str, Any] = {
    "canvas": [64, 72],
    "network_def#dim": 8,
    "network_def#num_blocks": [1, 1],
    "network_def#num_heads": 2,
}
TRAINING: dict[str, Any] = {
    **NETWORK,
    "patch_size": [32, 32],
    "patch_scales": [0.75, 1.0],
    "epochs": 7,
    "stage1_epochs": 4,
    "val_interval": 1,
    "batch_size": 4,
    "crops_per_case": 4,
    "learning_rate": 0.003,
}


@dataclass
class Run:
    """A finished training: its folder, losses of every step by name, sizes of crops, epochs that were validated."""

    folder: Path
    losses: dict[str, list[float]] = field(default_factory=dict)
    validated: list[int] = field(default_factory=list)
    sizes: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def checkpoint(self) -> str:
        return str(self.folder / "models" / "model.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, workflow: Callable[..., ConfigWorkflow]) -> Run:
    run = Run(tmp_path_factory.mktemp("fusion"))
    places = {"ckpt_dir": str(run.folder / "models"), "output_dir": str(run.folder / "eval")}
    made = workflow("spine_fusion", "train.json", **places, **TRAINING)
    assert made.check_properties() == []
    trainer, evaluator = (made.parser.get_parsed_content(name) for name in ("train#trainer", "validate#evaluator"))

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        output = output[0] if isinstance(output, list) else output
        run.sizes.add(tuple(output["image"].shape))
        for name in ("reconstruction_loss", "fusion_loss"):
            if name in output:
                run.losses.setdefault(name, []).append(float(output[name]))

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    evaluator.add_event_handler(Events.COMPLETED, lambda: run.validated.append(trainer.state.epoch))
    made.run()
    made.finalize()
    return run


def test_training_learns_to_reconstruct_and_writes_weights_and_curves(trained: Run) -> None:
    steps = trained.losses["reconstruction_loss"]
    assert np.isfinite(steps).all()
    assert np.mean(steps[-4:]) < 0.8 * np.mean(steps[:4])
    assert {re.sub(r"\d+", "N", path.name) for path in (trained.folder / "models").iterdir()} == {
        *("model.pt", "model_final.pt", "training_epoch_N.pt")
    }
    assert {path.parent.name for path in trained.folder.rglob("events.out*")} == {"train", "validate"}


def test_batches_have_every_scale(trained: Run) -> None:
    assert trained.sizes == {(2, 24, 24), (2, 32, 32)}


def test_only_the_last_stage_is_validated(trained: Run) -> None:
    assert trained.validated == [7]
    steps = np.array(trained.losses["fusion_loss"])
    assert len(steps) == 7 * 4  # 7 epochs of 4 cases x 4 crops / batch 4
    assert (steps[: 4 * 4] == 0).all()
    assert (steps[4 * 4 :] > 0).all()


def test_fine_tuning_begins_with_given_weights_and_without_stage_one(
    trained: Run, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    settings = {name: value for name, value in TRAINING.items() if name != "stage1_epochs"}
    settings |= {"epochs": 1, "learning_rate": 1e-12, "weights": trained.checkpoint}
    made = workflow("spine_fusion", "train.json", "fine_tune.json", **places, **settings)
    trainer, stages = made.parser.get_parsed_content("train#trainer"), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: stages.append(engine.state.output[0]["stage"]))
    made.run()
    assert set(stages) == {2}
    before, after = (torch.load(path) for path in (trained.checkpoint, tmp_path / "models" / "model_final.pt"))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight)


def test_evaluation_writes_a_row_per_case_for_every_metric(
    trained: Run, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    made = workflow(
        *("spine_fusion", "train.json", "evaluate.json"),
        checkpoint=trained.checkpoint,
        output_dir=str(tmp_path),
        sections=["validation", "test"],
        **NETWORK,
    )
    assert made.check_properties() == []
    made.run()
    names = [line.split(",")[0] for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    assert {"val_visual_information_fidelity", "val_entropy", "val_edge_preservation"} <= {
        part for name in names for part in name.split()
    }
    for path in tmp_path.glob("*_raw.csv"):
        rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
        assert {row[0] for row in rows} == {"case_4", "case_5"}
        assert np.isfinite([float(row[-1]) for row in rows]).all()
    assert len(list(tmp_path.glob("*_raw.csv"))) >= 9


@pytest.fixture(scope="module")
def fused(
    trained: Run, workflow: Callable[..., ConfigWorkflow], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("fused")
    made = workflow(
        *("spine_fusion", "inference.json"),
        workflow_type="inference",
        checkpoint=trained.checkpoint,
        output_dir=str(out),
        sections=["validation", "test"],
        **NETWORK,
    )
    assert made.check_properties() == []
    made.run()
    assert [path.name for path in out.rglob(".*")] == []
    return {path.parent.name: path for path in out.rglob("fused.nii.gz")}


@pytest.mark.parametrize("case", ["case_4", "case_5"])
def test_fused_volume_lies_on_the_grid_of_the_ct_as_stored(case: str, fused: dict[str, Path], cohort: Path) -> None:
    ct, image = nib.Nifti1Image.from_filename(cohort / case / "ct.nii.gz"), nib.Nifti1Image.from_filename(fused[case])
    assert nib.aff2axcodes(ct.affine) == {"case_4": ("R", "A", "S"), "case_5": ("P", "I", "L")}[case]
    assert image.shape == ct.shape
    np.testing.assert_allclose(image.affine, ct.affine, atol=1e-5)
    voxels = image.get_fdata()
    assert image.get_data_dtype() == np.float32
    assert np.isfinite(voxels).all()
    assert voxels.min() >= -1e-5
    assert voxels.max() <= 1 + 1e-5
    assert voxels.std() > 0.01


def test_turning_the_stored_axes_does_not_change_what_is_fused(
    trained: Run, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    """One patient stored twice, with other axes: both results agree voxel by voxel of the patient."""
    settings = {"checkpoint": trained.checkpoint, "workflow_type": "inference", **NETWORK}
    results = []
    for codes in (("R", "A", "S"), ("A", "L", "I")):
        folder = tmp_path / "".join(codes)
        folder.mkdir()
        for name in ("ct", "mr"):
            image = nib.Nifti1Image.from_filename(cohort / "case_4" / f"{name}.nii.gz")
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
            )
            nib.save(image.as_reoriented(turn), folder / f"{name}.nii.gz")
        item = {name: str(folder / f"{name}.nii.gz") for name in ("ct", "mr")}
        made = workflow(
            *("spine_fusion", "inference.json"),
            **settings,
            **{"dataset#data": [item], "dataset_dir": str(folder), "output_dir": str(folder)},
        )
        made.run()
        stored = nib.Nifti1Image.from_filename(folder / "fused.nii.gz")
        assert nib.aff2axcodes(stored.affine) == codes
        results.append(nib.as_closest_canonical(stored))
    np.testing.assert_allclose(results[0].affine, results[1].affine, atol=1e-5)
    np.testing.assert_allclose(results[0].get_fdata(), results[1].get_fdata(), atol=1e-4)


def test_bundle_command_runs_from_any_folder(trained: Run, cohort: Path, tmp_path: Path) -> None:
    bundle = Path(__file__).parents[2] / "bundles" / "spine_fusion"
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(bundle)]
    command += ["--config_file", str(bundle / "configs" / "inference.json"), "--dataset_dir", str(cohort)]
    command += ["--output_dir", str(tmp_path / "out"), "--checkpoint", trained.checkpoint, "--sections", "['test']"]
    for name, value in NETWORK.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.nii.gz")] == ["out/case_5/fused.nii.gz"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
