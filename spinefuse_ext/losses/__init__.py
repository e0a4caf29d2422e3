"""Losses: fusion and segmentation."""

from __future__ import annotations

from spinefuse_ext.losses.consistency import ConsistencyLoss, sharpen
from spinefuse_ext.losses.decomposition import DecompositionLoss
from spinefuse_ext.losses.fusion import FusionLoss
from spinefuse_ext.losses.reconstruction import ReconstructionLoss
from spinefuse_ext.losses.rectification import RectificationLoss, disagreement_mask
from spinefuse_ext.losses.semi_supervised import SemiSupervisedLoss

__all__ = [
    "ConsistencyLoss",
    "DecompositionLoss",
    "FusionLoss",
    "ReconstructionLoss",
    "RectificationLoss",
    "SemiSupervisedLoss",
    "disagreement_mask",
    "sharpen",
]
