"""Scores of a fused image and of a segmentation, and how far a segmentation can be trusted without a truth."""

from spinefuse_ext.metrics.contrast import average_gradient, spatial_frequency, standard_deviation
from spinefuse_ext.metrics.convention import Convention
from spinefuse_ext.metrics.edges import edge_preservation
from spinefuse_ext.metrics.fidelity import (
    bone_brightness,
    bone_level_of,
    soft_tissue_correlation,
    sum_of_correlations_of_differences,
    visual_information_fidelity,
)
from spinefuse_ext.metrics.fusion_metric import FUSION_SCORES, FusionMetric
from spinefuse_ext.metrics.information import entropy, mutual_information
from spinefuse_ext.metrics.overlap import overlap_table
from spinefuse_ext.metrics.segmentation import NOT_IN_TRUTH, SEGMENTATION_SCORES, false_volumes_ml, segmentation_table
from spinefuse_ext.metrics.structural import structural_similarity
from spinefuse_ext.metrics.trust import TRUST_SCORES, trust_scores

__all__ = [
    "FUSION_SCORES",
    "NOT_IN_TRUTH",
    "SEGMENTATION_SCORES",
    "TRUST_SCORES",
    "Convention",
    "FusionMetric",
    "average_gradient",
    "bone_brightness",
    "bone_level_of",
    "edge_preservation",
    "entropy",
    "false_volumes_ml",
    "mutual_information",
    "overlap_table",
    "segmentation_table",
    "soft_tissue_correlation",
    "spatial_frequency",
    "standard_deviation",
    "structural_similarity",
    "sum_of_correlations_of_differences",
    "trust_scores",
    "visual_information_fidelity",
]
