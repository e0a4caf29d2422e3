"""Scores of a fused image, and the overlap of two label volumes."""

from spinefuse_ext.metrics.contrast import average_gradient, spatial_frequency, standard_deviation
from spinefuse_ext.metrics.convention import Convention
from spinefuse_ext.metrics.edges import edge_preservation
from spinefuse_ext.metrics.fidelity import sum_of_correlations_of_differences, visual_information_fidelity
from spinefuse_ext.metrics.fusion_metric import FUSION_SCORES, FusionMetric
from spinefuse_ext.metrics.information import entropy, mutual_information
from spinefuse_ext.metrics.overlap import overlap_table
from spinefuse_ext.metrics.structural import structural_similarity

__all__ = [
    "FUSION_SCORES",
    "Convention",
    "FusionMetric",
    "average_gradient",
    "edge_preservation",
    "entropy",
    "mutual_information",
    "overlap_table",
    "spatial_frequency",
    "standard_deviation",
    "structural_similarity",
    "sum_of_correlations_of_differences",
    "visual_information_fidelity",
]
