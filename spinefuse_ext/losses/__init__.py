"""Losses: fusion and segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.losses.boundary_weighted import BoundaryWeightedLoss, boundary_weight
from spinefuse_ext.losses.consistency import ConsistencyLoss, sharpen
from spinefuse_ext.losses.decomposition import DecompositionLoss
from spinefuse_ext.losses.dense_info_nce import DenseInfoNCELoss
from spinefuse_ext.losses.fidelity import lost_fidelity, shared_information
from spinefuse_ext.losses.fusion import FusionLoss
from spinefuse_ext.losses.information import InformationMeasure, PyramidInformation, gradient_energy
from spinefuse_ext.losses.plain import PlainLoss, SourcesLoss
from spinefuse_ext.losses.reader import ReaderFusionLoss, RunningRecovery, faded_bone, hidden_edges
from spinefuse_ext.losses.reconstruction import ReconstructionLoss
from spinefuse_ext.losses.rectification import RectificationLoss, disagreement_mask
from spinefuse_ext.losses.semi_supervised import SemiSupervisedLoss
from spinefuse_ext.losses.signed_distance import signed_distance
from spinefuse_ext.losses.structure import StructureFusionLoss, lost_edges
from spinefuse_ext.losses.u2fusion import U2FusionLoss
from spinefuse_ext.losses.vgg16 import VGG16Information, information_measure
from spinefuse_ext.renamed import renamed

__all__ = [
    "BoundaryWeightedLoss",
    "ConsistencyLoss",
    "DecompositionLoss",
    "DenseInfoNCELoss",
    "FusionLoss",
    "InformationMeasure",
    "PlainLoss",
    "PyramidInformation",
    "ReaderFusionLoss",
    "ReconstructionLoss",
    "RectificationLoss",
    "RunningRecovery",
    "SemiSupervisedLoss",
    "SourcesLoss",
    "StructureFusionLoss",
    "U2FusionLoss",
    "VGG16Information",
    "boundary_weight",
    "disagreement_mask",
    "faded_bone",
    "gradient_energy",
    "hidden_edges",
    "information_measure",
    "lost_edges",
    "lost_fidelity",
    "shared_information",
    "sharpen",
    "signed_distance",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"PlaceContrastLoss": "spinefuse_ext.losses.dense_info_nce.DenseInfoNCELoss"})
