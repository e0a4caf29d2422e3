"""The rivals of the fusion network, each by its delta on the same configs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_net_in_out

from spinefuse_ext.metrics import bone_order, visibility
from spinefuse_ext.transforms import ScaleByModalityd

pytestmark = pytest.mark.slow

BUNDLES = Path(__file__).parents[2] / "bundles"
BUNDLE = "spine_fusion"
CANVAS = {"canvas": [64, 72]}
SMALL: dict[str, Any] = {**CANVAS, "network_def#growth": 6, "network_def#head_channels": [8, 4]}
SCORES = 16


def prepared(cohort: Path, case: str) -> np.ndarray:
    """CT and MR of a case stored in RAS on one grid, scaled as the configs say: ``(2, *S)``."""
    ct, mr = (nib.Nifti1Image.from_filename(cohort / case / f"{name}.nii.gz").get_fdata() for name in ("ct", "mr"))
    scale = ScaleByModalityd(("ct", "mr"), ct_window_hu=(-200, 1000), percentiles=(0.5, 99.5))
    scaled = scale({"ct": torch.from_numpy(ct)[None], "mr": torch.from_numpy(mr)[None]})
    return np.stack([scaled[name][0].numpy() for name in ("ct", "mr")])


def fuse(workflow: Callable[..., ConfigWorkflow], method: str, out: Path, **overrides: Any) -> dict[str, np.ndarray]:
    """Fuse the validation and the test case; volumes by case."""
    files = ("inference.json", f"{method}.json")
    settings = {"checkpoint": str(out / "absent.pt"), "sections": ["validation", "test"], **CANVAS, **overrides}
    made = workflow(BUNDLE, *files, workflow_type="inference", output_dir=str(out), **settings)
    assert made.check_properties() == []
    made.run()
    return {path.parent.name: nib.nifti1.load(path).get_fdata() for path in out.rglob("fused.nii.gz")}


@pytest.mark.parametrize("method", ["mean", "max", "ct", "mr", "laplacian", "wavelet", "guided"])
def test_a_classical_rule_fuses_without_a_checkpoint(
    method: str, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    fused = fuse(workflow, method, tmp_path)
    assert set(fused) == {"case_4", "case_5"}
    pair = prepared(cohort, "case_4")
    by_voxel = {"mean": pair.mean(0), "max": pair.max(0), "ct": pair[0], "mr": pair[1]}
    if method in by_voxel:
        np.testing.assert_allclose(fused["case_4"], by_voxel[method], atol=1e-4)
    else:  # on the whole the mean, with more contrast
        assert np.corrcoef(fused["case_4"].ravel(), pair.mean(0).ravel())[0, 1] > 0.9
        assert np.abs(np.diff(fused["case_4"], axis=1)).mean() > 1.2 * np.abs(np.diff(pair.mean(0), axis=1)).mean()


@pytest.mark.parametrize(
    "method", ["mean", "max", "ct", "mr", "laplacian", "wavelet", "guided", "u2fusion", "blend", "selection"]
)
def test_a_rival_takes_and_gives_what_the_metadata_says(method: str) -> None:
    configs = BUNDLES / BUNDLE / "configs"
    files = [str(configs / "inference.json"), str(configs / f"{method}.json")]
    small: dict[str, Any] = {"checkpoint": "$None"}
    if method == "u2fusion":
        small["network_def#growth"] = 4
    verify_net_in_out("network", str(configs / "metadata.json"), files, device="cpu", n=3, **small)


def test_a_classical_rule_is_scored_without_a_checkpoint(
    workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    files = ("train.json", "evaluate.json", "max.json")
    paths = {"output_dir": str(tmp_path / "eval"), "ckpt_dir": str(tmp_path / "models")}
    workflow(BUNDLE, *files, **paths, **CANVAS).run()
    tables = list((tmp_path / "eval").glob("*_raw.csv"))
    assert len(tables) == SCORES
    for table in tables:
        rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
        assert [row[0] for row in rows] == ["case_4"]
        # where the brighter source is the same one all over a slice the fused image equals it: that score is undefined
        assert np.isfinite(float(rows[0][-1])) or "correlations_of_differences" in table.name


def test_u2fusion_trains_and_its_checkpoint_is_scored_and_fuses(
    workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    paths = {"output_dir": str(tmp_path / "eval"), "ckpt_dir": str(tmp_path / "models")}
    sizes = {"patch_size": [32, 32], "batch_size": 4, "crops_per_case": 4, "learning_rate": 0.003}
    files = ("train.json", "u2fusion.json", "u2fusion_train.json")
    made = workflow(BUNDLE, *files, epochs=4, val_interval=2, **paths, **sizes, **SMALL)
    assert made.check_properties() == []
    untrained = {
        name: weight.clone() for name, weight in made.parser.get_parsed_content("network").state_dict().items()
    }
    validated: list[int] = []
    trainer, evaluator = (made.parser.get_parsed_content(name) for name in ("train#trainer", "validate#evaluator"))
    evaluator.add_event_handler("COMPLETED", lambda: validated.append(trainer.state.epoch))
    made.run()
    made.finalize()
    assert validated == [2, 4]
    assert trainer.state.iteration == 4 * 4  # 4 epochs of 4 cases x 4 crops / batch 4
    saved = torch.load(tmp_path / "models" / "model_final.pt")
    assert all(not torch.equal(weight, untrained[name]) for name, weight in saved.items())

    scored = {"checkpoint": str(tmp_path / "models" / "model_final.pt"), "output_dir": str(tmp_path / "scores")}
    workflow(BUNDLE, "train.json", "evaluate.json", "u2fusion.json", **scored, **SMALL).run()
    assert len(list((tmp_path / "scores").glob("*_raw.csv"))) == SCORES
    volumes = [
        fuse(workflow, "u2fusion", tmp_path / name, **{**SMALL, "checkpoint": str(tmp_path / "models" / f"{name}.pt")})
        for name in ("model", "model_final")
    ]
    assert all(volume.std() > 0.001 for cases in volumes for volume in cases.values())


def test_the_cddfuse_composition_trains_in_two_stages(workflow: Callable[..., ConfigWorkflow], tmp_path: Path) -> None:
    paths = {"output_dir": str(tmp_path / "eval"), "ckpt_dir": str(tmp_path / "models")}
    network = {"network_def#dim": 8, "network_def#num_blocks": [1, 1], "network_def#num_heads": 2}
    sizes = {"patch_size": [32, 32], "batch_size": 4, "crops_per_case": 1, "epochs": 2, "stage1_epochs": 1}
    workflow(BUNDLE, "train.json", "cddfuse.json", "cddfuse_train.json", **paths, **sizes, **network, **CANVAS).run()
    weights = str(tmp_path / "models" / "model_final.pt")
    fused = fuse(workflow, "cddfuse", tmp_path, **{**network, "checkpoint": weights})
    assert set(fused) == {"case_4", "case_5"}


def test_the_blend_learns_to_show_more_of_both_scans_and_its_checkpoint_fuses(
    workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    paths = {"output_dir": str(tmp_path / "eval"), "ckpt_dir": str(tmp_path / "models")}
    sizes = {"patch_size": [48, 48], "batch_size": 4, "crops_per_case": 8, "epochs": 4, "val_interval": 4}
    made = workflow(
        BUNDLE, "train.json", "blend.json", "blend_train.json", learning_rate=0.01, **paths, **sizes, **CANVAS
    )
    assert made.check_properties() == []
    losses: list[float] = []
    trainer = made.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: losses.append(engine.state.output[0]["loss"]))
    made.run()
    made.finalize()
    assert len(losses) == 4 * 8
    assert np.mean(losses[-8:]) < np.mean(losses[:8])
    fused = fuse(workflow, "blend", tmp_path, checkpoint=str(tmp_path / "models" / "model_final.pt"))
    ct, mr = prepared(cohort, "case_4")
    assert (fused["case_4"] >= np.minimum(ct, mr) - 1e-4).all()
    assert (fused["case_4"] <= np.maximum(ct, mr) + 1e-4).all()
    assert np.abs(fused["case_4"] - np.maximum(ct, mr)).mean() > 5 / 255


def test_the_blend_that_comes_with_the_bundle_fuses(
    workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    """Bone is bright, and edges of both scans are seen: more of the worse one than the maximum shows."""
    weights = str(BUNDLES / BUNDLE / "models" / "blend.pt")
    fused = torch.from_numpy(fuse(workflow, "blend", tmp_path, checkpoint=weights)["case_4"]).float()[:, None]
    pair = torch.from_numpy(prepared(cohort, "case_4")).movedim(1, 0).float()
    bone = pair[:, :1] > (400 + 200) / 1200
    assert fused[bone].mean() > 0.85 * pair[:, :1][bone].mean()
    assert bone_order(fused, pair).nanmean() > 0.9
    assert visibility(fused, pair).nanmean() > visibility(pair.amax(1, keepdim=True), pair).nanmean()
