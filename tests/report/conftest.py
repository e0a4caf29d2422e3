"""A small synthetic run: ellipsoid vertebrae and discs, CT in HU, an MR in another place, logs and metric files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import MetricsSaver
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift
from torch.utils.tensorboard import SummaryWriter

from spinefuse_ext.registration import Landmarks, fit_landmarks, write_landmarks

NAMES = ("L1", "L2", "L3", "L4")
AFFINE = np.array([[1.5, 0, 0, -30], [0, 1.0, 0, -40], [0, 0, 2.0, 100], [0, 0, 0, 1]])


def _spine_label(shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Vertebrae (1) and discs (2) stacked along z with the canal (3) behind them."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    label = np.zeros(shape, dtype=np.int64)
    label[(x**2 + (y + 0.35) ** 2 < 0.04)] = 3
    for centre in (-0.75, -0.25, 0.25, 0.75):
        label[(x / 0.55) ** 2 + ((y - 0.2) / 0.38) ** 2 + ((z - centre) / 0.17) ** 4 < 1] = 1
        label[(x / 0.5) ** 2 + ((y - 0.2) / 0.35) ** 2 + ((z - centre - 0.25) / 0.06) ** 2 < 1] = 2
    return label


def _save(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> None:
    nib.save(nib.Nifti1Image(np.asarray(array, dtype=np.float32), affine), path)


def _write_case(folder: Path, rng: np.random.Generator, click_mm: float) -> None:
    folder.mkdir(parents=True)
    label = _spine_label((24, 40, 48))
    ct = gaussian_filter(np.choose(label, [40, 450, 90, 10]).astype(float), 0.6) + rng.normal(0, 15, label.shape)
    mr = gaussian_filter(np.choose(label, [120, 220, 420, 600]).astype(float), 0.6) + rng.rayleigh(15, label.shape)
    images = {"ct": ct, "mr": mr, "mr_before": shift(mr, (0, 3, 2)), "fused": np.clip(ct / 900 + mr / 900, 0, 1)}
    for name, image in {**images, "label": label, "prediction": np.roll(label, 1, axis=2)}.items():
        _save(folder / f"{name}.nii.gz", image)
    points = rng.uniform((-20, -40, 130), (0, -5, 180), (4, 3))
    ct_points, mr_points = (Landmarks(NAMES, points + rng.normal(0, click_mm, (4, 3))) for _ in range(2))
    write_landmarks(ct_points, folder / "ct.mrk.json")
    fit = {"mr": "original.nii.gz", "ct_landmarks": "ct.mrk.json", **fit_landmarks(ct_points, mr_points).to_dict()}
    (folder / "registration.json").write_text(json.dumps(fit))


def _write_logs(folder: Path, tags: dict[str, int]) -> None:
    with SummaryWriter(str(folder)) as writer:
        for tag, count in tags.items():
            for step in range(1, count + 1):
                writer.add_scalar(tag, 1 / step if "loss" in tag else 1 - 0.5 / step, step)


def _save_metrics(folder: Path, files: list[str], details: dict[str, torch.Tensor], delimiter: str = ",") -> None:
    """What an evaluator with MONAI's own handler leaves behind."""
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.EPOCH_COMPLETED)
    def _measured() -> None:
        engine.state.metrics = {name: float(values.nanmean()) for name, values in details.items()}
        engine.state.metric_details = details

    MetricsSaver(
        save_dir=str(folder),
        metric_details="*",
        batch_transform=lambda batch: [{"filename_or_obj": file} for file in batch],
        summary_ops=["mean", "median", "std"],
        delimiter=delimiter,
    ).attach(engine)
    engine.run([files], max_epochs=1)


@pytest.fixture
def save_metrics() -> Callable[..., None]:
    return _save_metrics


@pytest.fixture
def write_logs() -> Callable[[Path, dict[str, int]], None]:
    return _write_logs


@pytest.fixture
def save_image() -> Callable[..., None]:
    return _save


@pytest.fixture(scope="session")
def _whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    rng = np.random.default_rng(0)
    _write_case(folder / "cases" / "spine_01", rng, click_mm=0.3)
    _write_case(folder / "cases" / "spine_02", rng, click_mm=1.0)
    _write_logs(folder / "fusion" / "logs", {"reconstruction_loss": 120, "decomposition_loss": 120})
    _write_logs(folder / "semiseg" / "logs", {"train_loss": 60, "teacher": 60, "disagreement": 60, "val_mean_dice": 6})
    files = [f"/data/{name}/fused.nii.gz" for name in ("spine_01", "spine_02")]
    _save_metrics(folder / "fusion" / "eval", files, {"entropy": torch.tensor([[6.1], [6.3]])})
    _save_metrics(folder / "semiseg" / "eval", files, {"val_mean_dice": torch.tensor([[0.91, 0.82], [0.88, 0.79]])})
    (folder / "commands.txt").write_text("spinefuse phantom data --cases 2\nspinefuse report run\n")
    (folder / "timings.json").write_text(json.dumps({"phantom": 4.2, "train fusion": 133.0}))
    return folder


@pytest.fixture
def run_folder(_whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(_whole_run, tmp_path / "run"))
