"""Handlers: one job each, attached to a trainer or an evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.handlers.checkpoints import AtomicCheckpointSaver
from spinefuse_ext.handlers.competitive_pseudo_label import CompetitivePseudoLabelHandler
from spinefuse_ext.handlers.copy_paste import CopyPasteHandler
from spinefuse_ext.handlers.cross_pseudo_label import CrossPseudoLabelHandler
from spinefuse_ext.handlers.epoch_seed import EpochSeedHandler
from spinefuse_ext.handlers.fused_image import FusedImageHandler
from spinefuse_ext.handlers.mean_teacher import MeanTeacherHandler
from spinefuse_ext.handlers.min_max_similarity import MinMaxSimilarityHandler
from spinefuse_ext.handlers.outputs import case_meta, loss_terms
from spinefuse_ext.handlers.ramp import gaussian_ramp, training_progress
from spinefuse_ext.handlers.run_folder import RunFolderHandler
from spinefuse_ext.handlers.score_sets import fusion_scores
from spinefuse_ext.handlers.segmentation_scores import SegmentationScoresHandler
from spinefuse_ext.handlers.shape_aware import ShapeAdversaryHandler, SignedDistanceHandler
from spinefuse_ext.handlers.strong_view import StrongViewHandler
from spinefuse_ext.handlers.terms import add_term
from spinefuse_ext.handlers.training_state import TrainingStateHandler
from spinefuse_ext.handlers.validation import StageValidationHandler
from spinefuse_ext.handlers.weights import StrictCheckpointLoader
from spinefuse_ext.renamed import renamed

__all__ = [
    "AtomicCheckpointSaver",
    "CompetitivePseudoLabelHandler",
    "CopyPasteHandler",
    "CrossPseudoLabelHandler",
    "EpochSeedHandler",
    "FusedImageHandler",
    "MeanTeacherHandler",
    "MinMaxSimilarityHandler",
    "RunFolderHandler",
    "SegmentationScoresHandler",
    "ShapeAdversaryHandler",
    "SignedDistanceHandler",
    "StageValidationHandler",
    "StrictCheckpointLoader",
    "StrongViewHandler",
    "TrainingStateHandler",
    "add_term",
    "case_meta",
    "fusion_scores",
    "gaussian_ramp",
    "loss_terms",
    "training_progress",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__, {"WholeCheckpointSaver": "spinefuse_ext.handlers.checkpoints.AtomicCheckpointSaver"}
    )
