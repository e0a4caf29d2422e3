"""Scores of one prediction against what its labels know, also where they know only parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms.utils import generate_spatial_bounding_box
from numpy.typing import NDArray
from scipy import ndimage

from spinefuse_ext.benchmark.panel import BODIES, PARTS, WHOLE
from spinefuse_ext.metrics.overlap import mask_overlap
from spinefuse_ext.report.views import turn_to_ras
from spinefuse_ext.validation import GridMismatchError

Mask = NDArray[np.bool_]

#: The mean Dice of a case is over these.
SCORED = ("vertebra", "disc", "canal")
#: Both as one structure, within the labelled rows: the Dice that does not ask where the spine ends.
MERGED = "vertebra_or_sacrum"
FAR_MM = 10.0
FOUND_RECALL = 0.8
_PART_ML = 2.0


@dataclass(frozen=True)
class BodyScores:
    """Vertebral bodies of a label that knows nothing else: recall of each from the head down, and what was invented."""

    recall: tuple[float, ...]
    invented_ml: float
    invented_parts: int

    @property
    def found(self) -> int:
        """Bodies with a recall above 0.8."""
        return sum(value > FOUND_RECALL for value in self.recall)


@dataclass(frozen=True)
class FarPrediction:
    """Prediction farther than 10 mm from every true structure: ml, and its share of all that is predicted."""

    ml: float = math.nan
    share: float = math.nan


@dataclass(frozen=True)
class Scores:
    """What is measured of a case; NaN and empty where the labels do not say.

    ``dice`` is over the whole image, ``dice_rows`` over the axial planes from the lowest to the highest that holds a
    labelled vertebra, disc or body; ``far`` and ``far_rows`` alike. ``recall`` is that of parts.
    """

    dice: dict[str, float] = field(default_factory=dict)
    dice_rows: dict[str, float] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    far: FarPrediction = field(default_factory=FarPrediction)
    far_rows: FarPrediction = field(default_factory=FarPrediction)
    bodies: BodyScores | None = None
    predicted_ml: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean Dice of vertebra, disc and canal, of those that the truth holds."""
        return mean_of(self.dice)

    @property
    def mean_rows(self) -> float:
        """The same over the labelled rows."""
        return mean_of(self.dice_rows)


def mean_of(dice: Mapping[str, float]) -> float:
    """Mean over vertebra, disc and canal of the values that exist; NaN without any."""
    known = [dice[name] for name in SCORED if math.isfinite(dice.get(name, math.nan))]
    return sum(known) / len(known) if known else math.nan


def score(prediction: MetaTensor, truths: Mapping[str, MetaTensor], labels: Sequence[str]) -> Scores:
    """Score a prediction ``(1, X, Y, Z)`` of the classes ``labels`` against truths ``(1, X, Y, Z)`` on its grid.

    - A structure has the Dice of its own class. What the network calls sacrum is never a vertebra, and nothing at all
      where the truth does not know the sacrum. For a network without that class, what is sacrum or S1 in the truth is
      left out of the Dice of the vertebra.
    - ``vertebra_or_sacrum`` is the Dice of both as one structure, over the labelled rows, where the truth knows S1.
    - ``cord`` (part of the canal) and ``s1`` (part of the sacrum, or of the vertebra for a network that has no sacrum)
      are parts: the share of the true voxels that has the class of the whole.
    - ``bodies``: see ``body_scores``.
    - Far: see ``far_from``. Not told where the truth is ``bodies``, for it says nothing of the rest of a vertebra.

    Raises:
        GridMismatchError: a truth has another shape.
    """
    for name, truth in truths.items():
        if truth.shape != prediction.shape:
            raise GridMismatchError(
                f"The prediction is {tuple(prediction.shape)}, but the truth of {name} {tuple(truth.shape)}; give a "
                "label that lies on its image."
            )
    classes = np.rint(turn_to_ras(prediction).as_tensor().cpu().numpy()[0]).astype(np.int64)
    spacing_mm = affine_to_spacing(turn_to_ras(prediction).affine).tolist()
    predicted = {name: classes == index for index, name in enumerate(labels) if index}
    true = {name: np.rint(turn_to_ras(truth).as_tensor().cpu().numpy()[0]) for name, truth in truths.items()}
    masks = {name: volume > 0 for name, volume in true.items()}
    ml = math.prod(spacing_mm) / 1000
    volumes = {name: float(mask.sum()) * ml for name, mask in predicted.items()}
    if BODIES in true:
        return Scores(bodies=body_scores(predicted, true[BODIES], spacing_mm), predicted_ml=volumes)
    rows = labelled_rows(masks)
    counted = [mask for name, mask in predicted.items() if name != "sacrum" or name in masks]
    foreground = np.logical_or.reduce(counted)
    return Scores(
        dice=_dice(predicted, masks),
        dice_rows=_dice(_within(predicted, rows), _within(masks, rows)) | _merged(predicted, masks),
        recall=_recalls(predicted, masks),
        far=far_from(foreground, np.logical_or.reduce(list(masks.values())), spacing_mm),
        far_rows=far_from(foreground, np.logical_or.reduce(list(masks.values())), spacing_mm, rows),
        predicted_ml=volumes,
    )


def labelled_rows(masks: Mapping[str, Mask]) -> slice:
    """The axial planes (last axis, RAS) from the lowest to the highest with a vertebra or disc; all without any."""
    spine = [masks[name] for name in ("vertebra", "disc") if name in masks] or list(masks.values())
    held = np.flatnonzero(np.logical_or.reduce(spine).any(axis=(0, 1)))
    return slice(int(held[0]), int(held[-1]) + 1) if held.size else slice(None)


def far_from(foreground: Mask, truth: Mask, spacing_mm: Sequence[float], rows: slice = slice(None)) -> FarPrediction:
    """How much of ``foreground`` ``(X, Y, Z)``, in ``rows``, lies farther than 10 mm from every voxel of ``truth``.

    The share is 0 of an empty prediction; NaN without a truth.
    """
    if not truth.any():
        return FarPrediction()
    counted = np.zeros_like(foreground)
    counted[..., rows] = foreground[..., rows]
    far, total = int(_beyond(counted, truth, spacing_mm).sum()), int(counted.sum())
    return FarPrediction(far * math.prod(spacing_mm) / 1000, far / total if total else 0.0)


def body_scores(predicted: Mapping[str, Mask], bodies: NDArray[np.generic], spacing_mm: Sequence[float]) -> BodyScores:
    """Recall of each body and what is predicted where none is, from ``bodies`` ``(X, Y, Z)`` in RAS, one number each.

    Recall is the share of a body's voxels that are predicted vertebra; bodies are listed from the head down. The lowest
    may be S1, so sacrum counts for it too.
    Invented is what is predicted vertebra, disc or canal in the planes from the lowest to the highest labelled voxel,
    farther than 10 mm from every body, and not behind them: behind the hindmost body voxel of its plane, or of the
    nearest plane that has one, lie the canal and the arches, which are not labelled. Vertebrae above and below the
    labelled ones are there and not labelled, so nothing is counted outside these planes. ``invented_parts`` is the
    number of its connected parts (26 neighbours) of more than 2 ml.
    """
    numbers = [number for number in np.unique(bodies).tolist() if number]
    if not numbers:
        return BodyScores((), math.nan, 0)
    vertebra = predicted["vertebra"]
    places = {number: np.argwhere(bodies == number) for number in numbers}
    ordered = sorted(numbers, key=lambda number: -float(places[number][:, 2].mean()))
    lowest = vertebra | predicted.get("sacrum", np.zeros_like(vertebra))
    meant = [vertebra] * (len(ordered) - 1) + [lowest]
    recall = tuple(float(mask[bodies == number].mean()) for mask, number in zip(meant, ordered, strict=True))
    any_body: Mask = bodies != 0
    rows = labelled_rows({"vertebra": any_body})
    found = np.logical_or.reduce([predicted[name] for name in SCORED if name in predicted]) & ~_behind(any_body)
    invented = _beyond(found[..., rows], any_body[..., rows], spacing_mm)
    parts, _ = ndimage.label(invented, structure=np.ones((3, 3, 3)))
    ml = math.prod(spacing_mm) / 1000
    sizes_ml = np.bincount(parts.ravel())[1:] * ml
    return BodyScores(recall, float(invented.sum()) * ml, int((sizes_ml > _PART_ML).sum()))


def _beyond(foreground: Mask, truth: Mask, spacing_mm: Sequence[float]) -> Mask:
    """The voxels of ``foreground`` farther than 10 mm from every one of ``truth``; distances only where they count."""
    start, end = generate_spatial_bounding_box((foreground | truth)[None])
    box = tuple(slice(low, high) for low, high in zip(start, end, strict=True))
    beyond = np.zeros_like(foreground)
    distance_mm = ndimage.distance_transform_edt(~truth[box], sampling=spacing_mm)
    beyond[box] = foreground[box] & (distance_mm > FAR_MM)
    return beyond


def _behind(bodies: Mask) -> Mask:
    """Voxels ``(X, Y, Z)`` in RAS behind the hindmost body voxel of their plane, or of the nearest plane with one."""
    held = np.flatnonzero(bodies.any(axis=(0, 1)))
    hindmost = np.any(bodies, axis=0)[:, held].argmax(axis=0)
    nearest = np.abs(np.arange(bodies.shape[2])[:, None] - held).argmin(axis=1)
    limits = hindmost[nearest]  # one a plane
    behind: Mask = np.broadcast_to(np.arange(bodies.shape[1])[None, :, None] < limits, bodies.shape)
    return behind


def _dice(predicted: Mapping[str, Mask], masks: Mapping[str, Mask]) -> dict[str, float]:
    values = {}
    for name in WHOLE:
        if name not in masks or name not in predicted:
            continue
        found, true = predicted[name], masks[name]
        if name == "vertebra" and "sacrum" not in predicted:
            elsewhere = [masks[other] for other in ("sacrum", "s1") if other in masks]
            for other in elsewhere:
                found, true = found & ~other, true & ~other
        values[name] = _overlap(found, true)
    return values


def _merged(predicted: Mapping[str, Mask], masks: Mapping[str, Mask]) -> dict[str, float]:
    """Dice of vertebra and sacrum as one, over the planes that hold either in the truth."""
    sacra = [masks[name] for name in ("sacrum", "s1") if name in masks]
    if not sacra or "vertebra" not in masks:
        return {}
    true = np.logical_or.reduce([masks["vertebra"], *sacra])
    found = predicted["vertebra"] | predicted.get("sacrum", np.zeros_like(true))
    rows = labelled_rows({"vertebra": true})
    return {MERGED: _overlap(found[..., rows], true[..., rows])}


def _recalls(predicted: Mapping[str, Mask], masks: Mapping[str, Mask]) -> dict[str, float]:
    recalls = {}
    for part in set(PARTS) & set(masks):
        whole = PARTS[part] if PARTS[part] in predicted else "vertebra"
        mask = masks[part]
        recalls[part] = float(predicted[whole][mask].mean()) if mask.any() else math.nan
    return recalls


def _within(masks: Mapping[str, Mask], rows: slice) -> dict[str, Mask]:
    return {name: mask[..., rows] for name, mask in masks.items()}


def _overlap(found: Mask, true: Mask) -> float:
    """Dice; NaN where the truth has nothing."""
    pair = (torch.from_numpy(np.ascontiguousarray(mask))[None] for mask in (found, true))
    return mask_overlap(*pair)["dice"]
