"""Measurements on panels of images, as a user would get them: ``spinefuse benchmark``."""

from __future__ import annotations

from spinefuse_ext.benchmark.commands import benchmark
from spinefuse_ext.benchmark.panel import PanelCase, read_panel
from spinefuse_ext.benchmark.score import Bodies, Far, Scores, score
from spinefuse_ext.benchmark.variants import VARIANTS

__all__ = ["VARIANTS", "Bodies", "Far", "PanelCase", "Scores", "benchmark", "read_panel", "score"]
