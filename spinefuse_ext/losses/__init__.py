"""Losses: fusion and segmentation."""

from __future__ import annotations

from spinefuse_ext.losses.consistency import ConsistencyLoss, sharpen
from spinefuse_ext.losses.decomposition import DecompositionLoss
from spinefuse_ext.losses.fusion import FusionLoss
from spinefuse_ext.losses.information import InformationMeasure, PyramidInformation, gradient_energy
from spinefuse_ext.losses.reconstruction import ReconstructionLoss
from spinefuse_ext.losses.rectification import RectificationLoss, disagreement_mask
from spinefuse_ext.losses.semi_supervised import SemiSupervisedLoss
from spinefuse_ext.losses.structure import StructureFusionLoss, lost_edges
from spinefuse_ext.losses.u2fusion import U2FusionLoss
from spinefuse_ext.losses.vgg16 import VGG16Information, information_measure

__all__ = [
    "ConsistencyLoss",
    "DecompositionLoss",
    "FusionLoss",
    "InformationMeasure",
    "PyramidInformation",
    "ReconstructionLoss",
    "RectificationLoss",
    "SemiSupervisedLoss",
    "StructureFusionLoss",
    "U2FusionLoss",
    "VGG16Information",
    "disagreement_mask",
    "gradient_energy",
    "information_measure",
    "lost_edges",
    "sharpen",
]
