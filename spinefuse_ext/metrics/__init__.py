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
from spinefuse_ext.metrics.fusion_metric import (
    FUSION_SCORES,
    READER_SCORES,
    RECOVERY_SCORES,
    FusionMetric,
    recovery_scores,
)
from spinefuse_ext.metrics.information import entropy, mutual_information
from spinefuse_ext.metrics.order import bone_order, tissue_separability, worst_and_mean
from spinefuse_ext.metrics.overlap import overlap_table
from spinefuse_ext.metrics.recoverability import (
    SourceRecovery,
    ct_recoverability,
    mr_recoverability,
    recoverability,
)
from spinefuse_ext.metrics.segmentation import NOT_IN_TRUTH, SEGMENTATION_SCORES, false_volumes_ml, segmentation_table
from spinefuse_ext.metrics.structural import structural_similarity
from spinefuse_ext.metrics.trust import TRUST_SCORES, trust_scores
from spinefuse_ext.metrics.visibility import ct_visibility, false_edges, mr_visibility, visibility

__all__ = [
    "FUSION_SCORES",
    "NOT_IN_TRUTH",
    "READER_SCORES",
    "RECOVERY_SCORES",
    "SEGMENTATION_SCORES",
    "TRUST_SCORES",
    "Convention",
    "FusionMetric",
    "SourceRecovery",
    "average_gradient",
    "bone_brightness",
    "bone_level_of",
    "bone_order",
    "ct_recoverability",
    "ct_visibility",
    "edge_preservation",
    "entropy",
    "false_edges",
    "false_volumes_ml",
    "mr_recoverability",
    "mr_visibility",
    "mutual_information",
    "overlap_table",
    "recoverability",
    "recovery_scores",
    "segmentation_table",
    "soft_tissue_correlation",
    "spatial_frequency",
    "standard_deviation",
    "structural_similarity",
    "sum_of_correlations_of_differences",
    "tissue_separability",
    "trust_scores",
    "visibility",
    "visual_information_fidelity",
    "worst_and_mean",
]
