"""Measurements on panels of images, as a user would get them: ``spinefuse benchmark``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.benchmark.commands import benchmark
from spinefuse_ext.benchmark.panel import PanelCase, read_panel
from spinefuse_ext.benchmark.score import BodyScores, FarPrediction, Scores, score
from spinefuse_ext.benchmark.variants import VARIANTS
from spinefuse_ext.renamed import renamed

__all__ = [
    "VARIANTS",
    "BodyScores",
    "FarPrediction",
    "PanelCase",
    "Scores",
    "benchmark",
    "read_panel",
    "score",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {"Bodies": "spinefuse_ext.benchmark.score.BodyScores", "Far": "spinefuse_ext.benchmark.score.FarPrediction"},
    )
