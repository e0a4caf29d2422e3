"""The last lines of a verb: what it wrote, where, and the figures that a person looks for first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from spinefuse_ext.console import tell
from spinefuse_ext.formats import data_paths

#: What a fusion and a segmentation write into their folder.
FUSED_FILE, PREDICTION_FILE = "fused.nii.gz", "prediction.nii.gz"
_ALSO_FUSED = ("contribution.nii.gz", "features.nii.gz", "overlay")
_ALSO_SEGMENTED = ("prediction_unet.nii.gz", "prediction_vnet.nii.gz", "disagreement.nii.gz")


def tell_fused(folder: str | Path) -> None:
    """Tell the fused volume in ``folder`` with its grid, and what lies beside it."""
    path = Path(folder) / FUSED_FILE
    if path.is_file():
        tell(f"Wrote {path}: {_grid(nib.load(path))}.")
    series = path.with_name("fused_dicom")
    if series.is_dir():
        tell(f"Wrote {series}: a DICOM series of {len(list(data_paths(series.iterdir())))} images.")
    _tell_existing(Path(folder), _ALSO_FUSED)


def tell_segmented(folder: str | Path, labels: Sequence[str]) -> None:
    """Tell the prediction in ``folder``: of each structure its volume in ml and how far it can be trusted.

    Args:
        folder: of ``prediction.nii.gz``, and of ``trust.json`` where that was wanted.
        labels: names of the classes, background first.
    """
    path = Path(folder) / PREDICTION_FILE
    if path.is_file():
        image: Any = nib.load(path)
        tell(f"Wrote {path}: {_grid(image)}.")
        volumes = structure_volumes(np.asarray(image.dataobj), image.affine, labels)
        trust = structure_trust(folder)
        width = max((len(name) for name in volumes), default=0)
        for name, volume in volumes.items():
            tell(f"  {name:<{width}} {_found(volume, trust.get(name))}")
    if path.with_name("prediction.dcm").is_file():
        tell(f"Wrote {path.with_name('prediction.dcm')}: a DICOM SEG of the same labels.")
    _tell_existing(Path(folder), _ALSO_SEGMENTED)


def tell_weights(run: str | Path) -> None:
    """Tell the weights that a training left below its folder ``run``, and where its curves are."""
    models = Path(run) / "models"
    for name, which in (("model.pt", "of the best epoch"), ("model_final.pt", "of the last epoch")):
        if (models / name).is_file():
            tell(f"Wrote {models / name}: weights {which}.")
    if (Path(run) / "eval").is_dir():
        tell(f"Wrote {Path(run) / 'eval'}: curves for TensorBoard.")


def tell_scores(folder: str | Path) -> None:
    """Tell the mean scores that an evaluation wrote into ``folder``."""
    from spinefuse_ext.report.tables import read_metrics_csv

    if not (Path(folder) / "metrics.csv").is_file():
        return
    scores = read_metrics_csv(folder).overall
    width = max((len(name) for name in scores), default=0)
    for name, value in scores.items():
        tell(f"  {name:<{width}} {'-' if value is None else format(value, '.4g')}")
    tell(f"Wrote {Path(folder) / 'metrics.csv'}, and a table of each score by case beside it.")


def structure_volumes(
    labels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], names: Sequence[str]
) -> dict[str, float]:
    """Volume of each class but the background in ml.

    Args:
        labels: ``(X, Y, Z)``, the class of each voxel.
        affine: ``(4, 4)``, voxel to mm.
        names: of the classes, background first.
    """
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    counts = np.bincount(labels.astype(np.int64).ravel(), minlength=len(names))
    return {name: float(counts[index]) * voxel_ml for index, name in enumerate(names) if index}


def _found(volume: float, trust: float | None) -> str:
    if not volume:
        return "not found"
    return f"{volume:8.1f} ml" + ("" if trust is None else f", trust {trust:.2f}")


def structure_trust(folder: str | Path) -> dict[str, float | None]:
    """How far each structure of the prediction in ``folder`` can be trusted, 0 to 1; empty where nobody asked."""
    path = Path(folder) / "trust.json"
    if not path.is_file():
        return {}
    structures: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["structures"]
    return {name: row["trust"] for name, row in structures.items()}


def _grid(image: Any) -> str:
    """Size and spacing of a NIfTI image, as ``32 x 64 x 64 voxels of 2 x 2 x 2 mm``."""
    size = " x ".join(map(str, image.shape))
    spacing = " x ".join(f"{float(edge):.3g}" for edge in image.header.get_zooms()[:3])
    return f"{size} voxels of {spacing} mm"


def _tell_existing(folder: Path, names: Sequence[str]) -> None:
    for path in (folder / name for name in names):
        if path.exists():
            tell(f"Wrote {path}.")
