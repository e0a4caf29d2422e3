"""Overlap of two label volumes, class by class: Dice and Jaccard of a segmentation that is already on disk.

While an evaluator runs, ``monai.handlers.MeanDice`` and ``MeanIoUHandler`` with ``MetricsSaver`` give the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from monai.data import MetaTensor
from monai.metrics import compute_dice, compute_iou
from monai.transforms import LoadImage

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.validation import GridMismatchError, ImageReadError, UnknownLabelError, check_exists

# largest difference of two affines that is still one grid: a hundredth of a millimetre
_AFFINE_TOLERANCE_MM = 0.01


def overlap_table(
    prediction: str | Path | MetaTensor,
    label: str | Path | MetaTensor,
    labels: Mapping[int, str] = STRUCTURES,
) -> dict[str, dict[str, float]]:
    """Dice and Jaccard in [0, 1] per class: ``{class: {"dice": ..., "jaccard": ...}}``, background (0) left out.

    A class that the truth does not hold is NaN, not defined, whatever the prediction; one that the prediction lacks is
    0.

    Args:
        prediction: label volume ``(1, *S)`` of integers, or the file that holds one, an image or a DICOM SEG; names in
            a file come before its numbers.
        label: the truth, on the same grid.
        labels: index -> name of the classes.

    Raises:
        GridMismatchError: when shapes or affines differ.
        UnknownLabelError: when a volume holds a value that ``labels`` does not name.
    """
    predicted, truth = (volume.as_tensor() for volume in label_pair(prediction, label, labels))
    return {name: mask_overlap(predicted == index, truth == index) for index, name in labels.items() if index != 0}


def label_pair(
    prediction: str | Path | MetaTensor, label: str | Path | MetaTensor, labels: Mapping[int, str]
) -> tuple[MetaTensor, MetaTensor]:
    """Prediction and label as ``(1, *S)`` of one grid, with no value that ``labels`` does not name.

    Raises:
        GridMismatchError: when shapes or affines differ.
        UnknownLabelError: when a volume holds another value.
    """
    volumes = {"prediction": _read(prediction, "prediction", labels), "label": _read(label, "label", labels)}
    names = {what: _name(given, what) for what, given in (("prediction", prediction), ("label", label))}
    _check_grids(volumes, names)
    for what, volume in volumes.items():
        _check_values(volume, names[what], labels)
    return volumes["prediction"], volumes["label"]


def mask_overlap(predicted: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Dice and Jaccard of two masks ``(1, *S)``; NaN when the truth is empty, 0 when the prediction alone is."""
    predicted, truth = predicted[None], truth[None]
    return {"dice": compute_dice(predicted, truth).item(), "jaccard": compute_iou(predicted, truth).item()}


def _name(given: str | Path | MetaTensor, what: str) -> str:
    return f"{what} {given}" if isinstance(given, (str, Path)) else str(what)


def _read(given: str | Path | MetaTensor, what: str, labels: Mapping[int, str]) -> MetaTensor:
    if isinstance(given, MetaTensor):
        return given
    from spinefuse_ext.label_files.label_classes import LabelScheme  # needs packages that tensors do not
    from spinefuse_ext.volumes.read_label import read_label

    path = check_exists(given, what)
    try:
        return read_label(path, LabelScheme(labels, strict=False))
    except ImageReadError as error:
        picture = _picture(path)
        if picture is None:
            raise ImageReadError(f"{what} {error}") from error
        return picture


def _picture(path: Path) -> MetaTensor | None:
    """A file of two axes ``(1, X, Y)``, None for any other."""
    try:
        image = LoadImage(image_only=True, ensure_channel_first=True)(path)
    except Exception:  # each of MONAI's readers raises its own kind
        return None
    return image if image.ndim == 3 else None


def _check_grids(volumes: Mapping[str, MetaTensor], names: Mapping[str, str]) -> None:
    shapes = {what: tuple(volume.shape) for what, volume in volumes.items()}
    if shapes["prediction"] != shapes["label"]:
        raise GridMismatchError(
            f"Expected one grid, got shape {shapes['prediction']} in {names['prediction']} and {shapes['label']} in "
            f"{names['label']}. Resample the prediction onto the grid of the label."
        )
    affines = [torch.as_tensor(volume.affine).double().cpu() for volume in volumes.values()]
    gap = (affines[0] - affines[1]).abs().max().item()
    if not gap <= _AFFINE_TOLERANCE_MM:
        raise GridMismatchError(
            f"Expected one grid, got affines that differ by up to {gap:.3g} mm in {names['prediction']} and "
            f"{names['label']}. Resample the prediction onto the grid of the label."
        )


def _check_values(volume: MetaTensor, name: str, labels: Mapping[int, str]) -> None:
    if volume.shape[0] != 1:
        raise ValueError(f"Expected a label volume (1, *S), got {tuple(volume.shape)} in {name}.")
    unknown = sorted(set(volume.as_tensor().unique().tolist()) - set(labels) - {0})
    if unknown:
        raise UnknownLabelError(
            f"Expected the labels {sorted(labels)}, got {', '.join(f'{value:g}' for value in unknown[:5])} as well in "
            f"{name}. Map them to known labels first, or name them."
        )
