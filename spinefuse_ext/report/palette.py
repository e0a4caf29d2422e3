"""Colours and sizes of every figure, errors from the colour-blind-safe set of Okabe and Ito (2008)."""

from __future__ import annotations

#: Page width in inches that every figure fills, and the resolution of its PNG; together 1,320 pixels.
WIDTH_IN = 11.0
DPI = 120

#: Image figures: near-black around the images, as on a reading-room screen.
BACKGROUND = "#0b0f14"
TEXT = "#e8edf2"
MUTED = "#a9b6c3"

#: Curve figures: ink on paper, so that they also print.
PAPER = "#ffffff"
INK = "#1d2730"
GRID = "#dfe5ea"

#: What a prediction got wrong, in the order of ``error_classes``: missed, extra, other structure.
ERROR_COLOURS = ("#d55e00", "#cc79a7", "#f0e442")
ERROR_NAMES = ("missed", "extra", "other structure")

CURVE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#8c564b")

#: Tints (red, green, blue factors) that tell CT tiles from MR tiles in a checkerboard.
CT_TINT = (1.0, 0.91, 0.76)
MR_TINT = (0.74, 0.90, 1.0)
