"""Fusion scores for MONAI's evaluators: one number per case, volumes scored slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric

from spinefuse_ext.metrics.contrast import average_gradient, spatial_frequency, standard_deviation
from spinefuse_ext.metrics.convention import PEAK, Convention, check_images, grey_levels
from spinefuse_ext.metrics.edges import edge_preservation
from spinefuse_ext.metrics.fidelity import (
    bone_brightness,
    soft_tissue_correlation,
    sum_of_correlations_of_differences,
    visual_information_fidelity,
)
from spinefuse_ext.metrics.information import entropy, mutual_information
from spinefuse_ext.metrics.order import bone_order
from spinefuse_ext.metrics.recoverability import (
    SourceRecovery,
    ct_recoverability,
    mr_recoverability,
    recoverability,
)
from spinefuse_ext.metrics.structural import structural_similarity
from spinefuse_ext.metrics.visibility import ct_visibility, false_edges, mr_visibility, visibility
from spinefuse_ext.validation import ConfigError, DatalistError, ImageReadError, check_choice, check_number

Score = Callable[..., torch.Tensor]

#: The scores of published tables, and two of bone and soft tissue, by the name a config uses.
FUSION_SCORES: dict[str, Score] = {
    score.__name__: score
    for score in (
        entropy,
        standard_deviation,
        spatial_frequency,
        average_gradient,
        mutual_information,
        visual_information_fidelity,
        sum_of_correlations_of_differences,
        edge_preservation,
        structural_similarity,
        bone_brightness,
        soft_tissue_correlation,
    )
}
#: Scores that an image which copies one scan cannot win, by the name a config uses.
READER_SCORES: dict[str, Score] = {
    score.__name__: score for score in (visibility, ct_visibility, mr_visibility, false_edges, bone_order)
}
#: Further ones that need a recovery fitted to other patients: :func:`recovery_scores`.
RECOVERY_SCORES: dict[str, Score] = {
    score.__name__: score for score in (recoverability, ct_recoverability, mr_recoverability)
}
#: Those that tell bone from soft tissue.
_WITH_BONE_LEVEL = (bone_brightness, soft_tissue_correlation, bone_order)
_NAMED = {**FUSION_SCORES, **READER_SCORES}
# slices scored at a time, which bounds the memory a volume takes
_SLICES_AT_ONCE = 8


def recovery_scores(recovery: SourceRecovery) -> dict[str, Score]:
    """``RECOVERY_SCORES`` with a fitted recovery, each with the arguments of every score."""
    return {name: partial(score, recovery=recovery) for name, score in RECOVERY_SCORES.items()}


class FusionMetric(CumulativeIterationMetric):
    """Mean of a fusion score over cases: fused ``(B, 1, *S)``, pair ``(B, 2, *S) -> (B, 1)``, lists of cases too.

    A volume is scored slice by slice along ``slice_axis`` and averaged; slices where CT or MR is constant hold nothing
    to fuse and are skipped, and so are slices whose score is not defined. A case with a value that is not finite, or
    without a slice to score, is NaN; the mean over cases leaves NaN out and is NaN when nothing else is there.

    Args:
        metric: name of a function of this package, or any function with the same arguments and result.
        slice_axis: spatial axis along which a volume is cut (0 is sagittal in RAS); None scores a volume as a whole.
        convention: ``"evaluator"`` (published tables) or ``"paper"`` (formulas as printed).
        data_range: largest possible value; the smallest is 0.
        eight_bit: round to 256 levels first, as the image files behind published numbers are. Without it mutual
            information of a network's output is meaningless, as nearly every pixel is a grey level of its own.
        bone_level: part of the range of CT from which on a voxel is bone, for the scores that tell bone from soft
            tissue; None leaves it at theirs. ``bone_level_of`` gives that of a CT window.
    """

    def __init__(
        self,
        metric: str | Score,
        slice_axis: int | None = 0,
        convention: str = Convention.EVALUATOR,
        *,
        data_range: float = 1.0,
        eight_bit: bool = True,
        bone_level: float | None = None,
    ) -> None:
        super().__init__()
        self.score: Score = metric if callable(metric) else check_choice("metric", metric, _NAMED)
        if bone_level is not None and self.score in _WITH_BONE_LEVEL:
            self.score = partial(self.score, bone_level=check_number("bone_level", bone_level))
        if slice_axis not in (None, 0, 1, 2):
            raise ConfigError(f"Expected slice_axis 0, 1, 2 or None, got {slice_axis}.")
        self.slice_axis = slice_axis
        self.convention = check_choice("convention", convention, Convention)
        self.data_range = check_number("data_range", data_range, above=0)
        self.eight_bit = eight_bit

    def aggregate(self) -> torch.Tensor:
        """Mean over the cases seen since the last ``reset``: a scalar."""
        scores: torch.Tensor | None = self.get_buffer()  # type: ignore[no-untyped-call]
        if scores is None:
            raise DatalistError("No case was scored yet: call the metric before aggregate, on at least one case.")
        return torch.nanmean(scores)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ConfigError("Expected the pair (B, 2, *S) beside the fused image, got None.")
        check_images(y_pred, y)
        if self.slice_axis is None or y_pred.ndim == 4:
            return self._rate(y_pred, y)[:, None]
        return torch.stack([self._volume(fused, pair) for fused, pair in zip(y_pred, y, strict=True)])[:, None]

    def _volume(self, fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        """Mean score of the slices of ``(1, *S)`` and ``(2, *S)``: a scalar."""
        axis = (self.slice_axis or 0) + 1
        fused, pair = fused.movedim(axis, 0), pair.movedim(axis, 0)  # N x C x H x W
        sources = pair.flatten(2)
        held = (sources.amax(2) > sources.amin(2)).all(1)
        if not (fused.isfinite().all() and pair.isfinite().all() and held.any()):
            return torch.tensor(torch.nan, dtype=torch.float64, device=fused.device)
        parts = zip(fused[held].split(_SLICES_AT_ONCE), pair[held].split(_SLICES_AT_ONCE), strict=True)
        try:
            return torch.nanmean(torch.cat([self._rate(*part) for part in parts]))
        except ValueError as error:
            raise ImageReadError(f"Slices across axis {axis - 1} cannot be scored: {error}") from error

    def _rate(self, fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        if not self.eight_bit:
            return self.score(fused, pair, data_range=self.data_range, convention=self.convention)
        levels = grey_levels(fused, pair, self.data_range, None)
        rounded = levels.fused.round(), levels.sources.round()
        return levels.finish(self.score(*rounded, data_range=PEAK, convention=self.convention))
