"""Scores of fused images for an evaluator: one handler for each, made of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai.handlers import IgniteMetricHandler, from_engine

from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.metrics import FUSION_SCORES, READER_SCORES, FusionMetric, bone_level_of
from spinefuse_ext.metrics.convention import Convention
from spinefuse_ext.validation import check_choice


def fusion_scores(
    scores: Sequence[str] | None = None,
    slice_axis: int | None = 0,
    *,
    ct_window_hu: Sequence[float] | None = None,
    convention: str = Convention.EVALUATOR,
    further: Mapping[str, IgniteMetricHandler] | None = None,
) -> dict[str, IgniteMetricHandler]:
    """A handler of each score of the fused image ``pred`` beside its pair ``image``, by the name ``val_SCORE``.

    Args:
        scores: names of functions of ``spinefuse_ext.metrics``: those of published tables and those of a reader. None
            is all of them.
        slice_axis: as ``FusionMetric``.
        ct_window_hu: HU of 0 and 1 in the pair's CT, which says where bone begins; None for the bundle's own window.
        convention: ``"evaluator"``; ``"paper"`` is known by some of the published scores only.
        further: handlers of one's own by name; they win over one of the same name.

    Raises:
        ConfigError: an unknown score or convention.
    """
    known = {**FUSION_SCORES, **READER_SCORES}
    bone_level = None if ct_window_hu is None else bone_level_of(ct_window_hu)
    handlers = {}
    for name in known if scores is None else scores:
        metric = FusionMetric(check_choice("scores", name, known), slice_axis, convention, bone_level=bone_level)
        keys = [str(CaseKeys.PRED), str(CaseKeys.IMAGE)]
        handlers[f"val_{name}"] = IgniteMetricHandler(
            metric_fn=metric, output_transform=from_engine(keys), save_details=True
        )
    return handlers | dict(further or {})
