"""What fusion writes on request: type on disk, overlays, contribution and feature maps; and how even volumes are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray

from spinefuse_ext.data import make_datalist, write_phantoms

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_fusion"
NETWORK: dict[str, Any] = {
    "canvas": [48, 56],
    "network_def#dim": 8,
    "network_def#num_blocks": [1, 1],
    "network_def#num_heads": 2,
    "sw_batch_size": 16,
}
TRAINING: dict[str, Any] = {
    "patch_size": [32, 32],
    "epochs": 8,
    "stage1_epochs": 3,
    "val_interval": 8,
    "batch_size": 8,
    "crops_per_case": 16,
    "learning_rate": 0.004,
}
EVERYTHING: dict[str, Any] = {
    "save_overlay": True,
    "overlay_slices": 3,
    "save_contribution": True,
    "save_features": True,
    "output_dtype": "uint16",
}
Voxels = NDArray[np.float64]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients of 48 x 48 x 48 voxels, as DICOM series, and as NIfTI with the MR in the CT's posture."""
    root = write_phantoms(tmp_path_factory.mktemp("phantoms"), cases=2, size_mm=(96.0, 96.0, 96.0), spacing_mm=2.0)
    for folder in root.iterdir():
        (folder / "mr_aligned.nii.gz").replace(folder / "mr.nii.gz")
    (root / "split.json").write_text(json.dumps({"labelled": ["case_000"], "validation": ["case_001"]}))
    make_datalist(root, split=root / "split.json")
    return root


@pytest.fixture(scope="module")
def checkpoint(
    phantoms: Path, workflow: Callable[..., ConfigWorkflow], tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("run")
    places = {"ckpt_dir": str(folder), "output_dir": str(folder / "eval"), "dataset_dir": str(phantoms)}
    workflow("spine_fusion", "train.json", **places, **NETWORK, **TRAINING).run()
    return str(folder / "model.pt")


def dicom_case(folder: Path) -> dict[str, str]:
    """A phantom's CT and MR as DICOM series, with the landmarks that bring the one to the other."""
    series = {name: str(folder / f"{name}_dicom") for name in ("ct", "mr")}
    return series | {f"landmarks_{name}": str(folder / f"{name}_landmarks.fcsv") for name in ("ct", "mr")}


@pytest.fixture(scope="module")
def outputs(checkpoint: str, cohort: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that one command writes for a case with turned axes and for one that comes as DICOM."""
    out = tmp_path_factory.mktemp("outputs")
    cases = [
        {"ct": str(cohort / "case_5" / "ct.nii.gz"), "mr": str(cohort / "case_5" / "mr.nii.gz")},
        dicom_case(phantoms / "case_001"),
    ]
    settings = {
        **{"bundle_root": BUNDLE, "config_file": BUNDLE / "configs" / "inference.json", "checkpoint": checkpoint},
        **{"output_dir": out, "dataset#data": cases, **NETWORK, **EVERYTHING},
    }
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_all_outputs_of_each_case_lie_in_its_folder_and_are_whole(outputs: Path) -> None:
    expected = {"fused.nii.gz", "contribution.nii.gz", "features.nii.gz", "overlay"}
    assert {path.name: {inner.name for inner in path.iterdir()} for path in outputs.iterdir()} == {
        "case_5": expected,
        "case_001": expected | {"fused_dicom"},
    }
    assert [path.name for path in outputs.rglob(".*")] == []


@pytest.mark.parametrize("case", ["case_5", "case_001"])
def test_all_volumes_lie_on_the_grid_of_the_ct(case: str, outputs: Path, cohort: Path, phantoms: Path) -> None:
    ct = nib.Nifti1Image.from_filename((cohort if case == "case_5" else phantoms) / case / "ct.nii.gz")
    for name, channels in {"fused": (), "contribution": (2,), "features": (4,)}.items():
        image = nib.Nifti1Image.from_filename(outputs / case / f"{name}.nii.gz")
        if case == "case_5":  # a DICOM series may be stored with other axes than the NIfTI file beside it
            assert nib.aff2axcodes(image.affine) == ("P", "I", "L")
        image, reference = nib.as_closest_canonical(image), nib.as_closest_canonical(ct)
        assert image.shape == (*reference.shape, *channels)
        np.testing.assert_allclose(image.affine, reference.affine, atol=1e-3)
        assert np.isfinite(image.get_fdata()).all()


@pytest.mark.parametrize("case", ["case_5", "case_001"])
def test_volumes_hold_what_they_promise(case: str, outputs: Path) -> None:
    fused, contribution, features = (
        nib.Nifti1Image.from_filename(outputs / case / f"{name}.nii.gz")
        for name in ("fused", "contribution", "features")
    )
    assert fused.get_data_dtype() == np.uint16
    stored = np.asarray(fused.dataobj.get_unscaled())  # type: ignore[attr-defined]
    np.testing.assert_allclose(fused.get_fdata(), stored / 65535, atol=1e-6)
    assert 0 <= fused.get_fdata().min() < fused.get_fdata().max() <= 1
    np.testing.assert_allclose(contribution.get_fdata().sum(-1), 1, atol=1e-5)
    assert contribution.get_fdata().std() > 0.01
    assert features.get_fdata().min() >= 0
    assert (features.get_fdata().std(axis=(0, 1, 2)) > 0).all()


def test_integers_on_disk_say_the_same_as_floats(
    outputs: Path, checkpoint: str, phantoms: Path, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    """The same case without any option: floats, and nothing but the fused volume and its DICOM series."""
    item = dicom_case(phantoms / "case_001")
    options = {"checkpoint": checkpoint, "output_dir": str(tmp_path), "dataset#data": [item]}
    workflow("spine_fusion", "inference.json", workflow_type="inference", **options, **NETWORK).run()
    assert {path.name for path in (tmp_path / "case_001").iterdir()} == {"fused.nii.gz", "fused_dicom"}
    floats = nib.Nifti1Image.from_filename(tmp_path / "case_001" / "fused.nii.gz")
    integers = nib.Nifti1Image.from_filename(outputs / "case_001" / "fused.nii.gz")
    assert floats.get_data_dtype() == np.float32
    np.testing.assert_allclose(integers.affine, floats.affine)
    np.testing.assert_allclose(integers.get_fdata(), floats.get_fdata().clip(0, 1), atol=0.6 / 65535 + 1e-5)


def test_overlays_show_slices_in_true_proportions(outputs: Path) -> None:
    pictures = sorted((outputs / "case_5" / "overlay").iterdir())
    assert len(pictures) == 3
    assert all(path.name.startswith("sagittal") for path in pictures)
    height, width = imread(pictures[0]).shape[:2]
    assert (height, width) == (768, round(768 * 64 / 72))


def between_slices(volume: Voxels) -> float:
    """Mean absolute difference of neighbouring sagittal slices ``(X, Y, Z)``, in standard deviations of the volume."""
    return float(np.abs(np.diff(volume, axis=0)).mean() / volume.std())


def brightness_jumps(volume: Voxels) -> float:
    """Mean absolute second difference of the mean of sagittal slices, in standard deviations of the volume."""
    return float(np.abs(np.diff(volume.mean(axis=(1, 2)), 2)).mean() / volume.std())


def test_fused_slices_follow_each_other_as_evenly_as_their_sources(
    checkpoint: str, phantoms: Path, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    """No flicker: the volume changes along its slices hardly more than the larger of CT and MR in each voxel does."""
    options = {"checkpoint": checkpoint, "output_dir": str(tmp_path), "dataset_dir": str(phantoms)}
    made = workflow(
        "spine_fusion", "inference.json", workflow_type="inference", sections=["validation"], **options, **NETWORK
    )
    pair = made.parser.get_parsed_content("dataset")[0]["image"].numpy().astype(np.float64)
    made.run()
    stored = nib.Nifti1Image.from_filename(tmp_path / "case_001" / "fused.nii.gz")
    fused: Voxels = nib.as_closest_canonical(stored).get_fdata()
    larger = pair.max(axis=0)
    assert between_slices(fused) < 1.15 * between_slices(larger)
    assert brightness_jumps(fused) < 1.15 * brightness_jumps(larger)
    spread = np.ptp(fused, axis=(1, 2), keepdims=True)
    flickering = (fused - fused.min(axis=(1, 2), keepdims=True)) / spread  # a scale of its own for each slice
    assert brightness_jumps(flickering) > 1.15 * brightness_jumps(larger)


def test_scores_are_taken_after_the_padding_is_undone(
    phantoms: Path, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    """A network that looks at one pixel at a time scores the same on any canvas, padded or not."""
    pointwise = {"_target_": "torch.nn.Conv2d", "in_channels": 2, "out_channels": 1, "kernel_size": 1}
    scores = []
    for canvas in ([48, 48], [80, 112]):
        made = workflow(
            *("spine_fusion", "train.json"),
            **{"canvas": canvas, "network_def": pointwise, "dataset_dir": str(phantoms)},
            **{"ckpt_dir": str(tmp_path), "output_dir": str(tmp_path), "sw_batch_size": 16},
        )
        network = made.parser.get_parsed_content("network")
        torch.nn.init.constant_(network.weight, 0.5)
        torch.nn.init.zeros_(network.bias)
        evaluator = made.parser.get_parsed_content("validate#evaluator")
        evaluator.run()
        scores.append(evaluator.state.metrics)
    assert set(scores[0]) >= {"val_visual_information_fidelity", "val_entropy", "val_spatial_frequency"}
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
