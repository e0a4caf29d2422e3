"""Trainers: one iteration each."""

from __future__ import annotations

from spinefuse_ext.engines.batch_crop import RandomBatchCrop
from spinefuse_ext.engines.fusion import FusionTrainer, weight_decay_groups
from spinefuse_ext.engines.pair_batch import PreparePair
from spinefuse_ext.engines.semi_supervised import SemiSupervisedEvents, SemiSupervisedTrainer
from spinefuse_ext.engines.step import StepTrainer, TrainingEvents
from spinefuse_ext.engines.transformed_batch import PrepareTransformed

__all__ = [
    "FusionTrainer",
    "PreparePair",
    "PrepareTransformed",
    "RandomBatchCrop",
    "SemiSupervisedEvents",
    "SemiSupervisedTrainer",
    "StepTrainer",
    "TrainingEvents",
    "weight_decay_groups",
]
