"""Scores of a segmentation against its truth, structure by structure: overlap, and distances of surfaces in mm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from monai.transforms.utils import generate_spatial_bounding_box

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.metrics.overlap import label_pair, mask_overlap
from spinefuse_ext.validation import check_number

#: The scores of one structure, in the order of ``segmentation_table``.
SEGMENTATION_SCORES = ("dice", "jaccard", "hd95_mm", "asd_mm", "surface_dice")
#: What is said of a structure that the truth does not hold.
NOT_IN_TRUTH = "not in the truth"


def segmentation_table(
    prediction: str | Path | MetaTensor,
    label: str | Path | MetaTensor,
    labels: Mapping[int, str] = STRUCTURES,
    *,
    tolerance_mm: float = 1.0,
) -> dict[str, dict[str, float]]:
    """``{structure: {"dice", "jaccard", "hd95_mm", "asd_mm", "surface_dice"}}``, background (0) left out.

    ``hd95_mm`` is the larger of the two directions' 95th percentiles of the distance from surface to surface,
    ``asd_mm`` the mean distance over both surfaces (voxels that have a neighbour outside the structure), and
    ``surface_dice`` the share of both surfaces' area, in [0, 1], that lies within ``tolerance_mm`` of the other one
    (Nikolov et al., J. Med. Internet Res. 2021). The voxel size comes from the label's affine.

    A structure that the truth does not hold has no score: NaN everywhere, as in MONAI's metrics, whatever the
    prediction; ``false_volumes_ml`` says how much of it was predicted. One that only the prediction lacks was missed
    and scores the worst there is: 0 for ``dice``, ``jaccard`` and ``surface_dice``, and the diagonal of the volume in
    mm for ``hd95_mm`` and ``asd_mm``; it is not dropped from a mean.

    Args:
        prediction: label volume ``(1, *S)`` of integers, or the file that holds one. An axis of one voxel is
            left out for distances: a single slice has an outline, not a surface.
        label: the truth, on the same grid.
        labels: index -> name of the structures.
        tolerance_mm: of ``surface_dice``. 1 mm is about the pixel of a spine CT or MR within its slices, finer than
            which no border can be drawn.

    Raises:
        GridMismatchError: when shapes or affines differ.
        UnknownLabelError: when a volume holds a value that ``labels`` does not name.
        ConfigError: ``tolerance_mm`` is negative.
    """
    check_number("tolerance_mm", tolerance_mm, least=0)
    predicted, truth = label_pair(prediction, label, labels)
    spacing_mm = affine_to_spacing(truth.affine, r=truth.ndim - 1).tolist()
    predicted_values, true_values = predicted.as_tensor().cpu(), truth.as_tensor().cpu()
    table = {}
    for index, name in labels.items():
        if index != 0:
            masks = predicted_values == index, true_values == index
            table[name] = mask_overlap(*masks) | surface_scores(*masks, spacing_mm, tolerance_mm)
    return table


def false_volumes_ml(
    prediction: str | Path | MetaTensor, label: str | Path | MetaTensor, labels: Mapping[int, str] = STRUCTURES
) -> dict[str, float]:
    """``{structure: ml}`` of the prediction for each structure that the truth does not hold, 0 where it has none too.

    Background is left out, and so are structures that the truth holds.

    Args:
        prediction: as for ``segmentation_table``.
        label: the truth, on the same grid.
        labels: index -> name of the structures.

    Raises:
        GridMismatchError: when shapes or affines differ.
        UnknownLabelError: when a volume holds a value that ``labels`` does not name.
    """
    predicted, truth = label_pair(prediction, label, labels)
    voxel_ml = abs(float(torch.linalg.det(torch.as_tensor(truth.affine).double()[:-1, :-1]))) / 1000
    masks = {
        name: (predicted.as_tensor() == index, truth.as_tensor() == index) for index, name in labels.items() if index
    }
    return {name: float(found.sum()) * voxel_ml for name, (found, true) in masks.items() if not true.any()}


def surface_scores(
    predicted: torch.Tensor, truth: torch.Tensor, spacing_mm: Sequence[float], tolerance_mm: float
) -> dict[str, float]:
    """The last three scores of ``segmentation_table`` for two masks ``(1, *S)``."""
    if not truth.any():
        return dict.fromkeys(SEGMENTATION_SCORES[2:], math.nan)
    if not predicted.any():
        diagonal = math.hypot(*(size * mm for size, mm in zip(truth.shape[1:], spacing_mm, strict=True)))
        return {"hd95_mm": diagonal, "asd_mm": diagonal, "surface_dice": 0.0}
    masks, spacing = _cropped(predicted, truth, spacing_mm)
    return {
        "hd95_mm": compute_hausdorff_distance(*masks, True, percentile=95, spacing=spacing).item(),
        "asd_mm": compute_average_surface_distance(*masks, True, symmetric=True, spacing=spacing).item(),
        "surface_dice": compute_surface_dice(*masks, [tolerance_mm], True, spacing=spacing, use_subvoxels=True).item(),
    }


def _cropped(
    predicted: torch.Tensor, truth: torch.Tensor, spacing_mm: Sequence[float]
) -> tuple[tuple[torch.Tensor, torch.Tensor], list[float]]:
    """Both masks as ``(1, 1, *S)`` cut to the box around them, without axes of one voxel, and the spacing left.

    Nothing else counts for a surface: MONAI pads what it crops, so that a cut face is a surface as any other.
    """
    start, end = generate_spatial_bounding_box(predicted | truth)
    box = (slice(None), *(slice(low, high) for low, high in zip(start, end, strict=True)))
    axes = [axis for axis, size in enumerate(truth.shape[1:]) if size > 1]
    if len(axes) < 2:  # a row or a single voxel stays as it is
        axes = list(range(truth.ndim - 1))
    single = [axis + 1 for axis in range(truth.ndim - 1) if axis not in axes]
    masks = predicted[box].squeeze(single)[None], truth[box].squeeze(single)[None]
    return masks, [spacing_mm[axis] for axis in axes]
