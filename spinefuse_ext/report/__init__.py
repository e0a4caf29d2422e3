"""Figures of a run, and the one-file HTML page that shows them with their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.renamed import renamed
from spinefuse_ext.report.build import build_report
from spinefuse_ext.report.cohort_strip import cohort_strip, save_jpeg
from spinefuse_ext.report.comparison import ScoreRow, score_table, wins_table
from spinefuse_ext.report.comparison_page import comparison_pictures, write_comparison
from spinefuse_ext.report.comparison_parts import Provenance
from spinefuse_ext.report.curves import loss_curves, read_curves
from spinefuse_ext.report.image_panels import fusion_panel, segmentation_panel, segmentations_panel
from spinefuse_ext.report.page import Card, Fact, Picture, Section, StoredPicture, write_page
from spinefuse_ext.report.registration_figures import CT_WINDOW_HU, checkerboard, registration_panel
from spinefuse_ext.report.segmentation_comparison import write_segmentation_comparison
from spinefuse_ext.report.tables import MetricsReport, Table, read_metrics_csv

__all__ = [
    "CT_WINDOW_HU",
    "Card",
    "Fact",
    "MetricsReport",
    "Picture",
    "Provenance",
    "ScoreRow",
    "Section",
    "StoredPicture",
    "Table",
    "build_report",
    "checkerboard",
    "cohort_strip",
    "comparison_pictures",
    "fusion_panel",
    "loss_curves",
    "read_curves",
    "read_metrics_csv",
    "registration_panel",
    "save_jpeg",
    "score_table",
    "segmentation_panel",
    "segmentations_panel",
    "wins_table",
    "write_comparison",
    "write_page",
    "write_segmentation_comparison",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {
            "Making": "spinefuse_ext.report.comparison_parts.Provenance",
            "Scored": "spinefuse_ext.report.comparison.ScoreRow",
        },
    )
