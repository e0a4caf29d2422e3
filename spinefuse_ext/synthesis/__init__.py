"""Augmentation, and images of any contrast from label maps, phantoms and scans: whole batches, on the device."""

from spinefuse_ext.synthesis.artefacts import RandCutd, RandScand
from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.contrast import RandContrastd
from spinefuse_ext.synthesis.distractors import RandDistractorsd
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.synthesis.intensity import (
    IntensityTransform,
    RandBlurd,
    RandFactord,
    RandGammad,
    RandNoised,
    RandOffsetd,
    RandShadingd,
)
from spinefuse_ext.synthesis.missing import RandMissingd
from spinefuse_ext.synthesis.paint import paint_labels
from spinefuse_ext.synthesis.pairs import RandPaird
from spinefuse_ext.synthesis.placement import RandPlacementd
from spinefuse_ext.synthesis.pose import RandAffined, RandFlipd

__all__ = [
    "BatchTransform",
    "Draws",
    "IntensityTransform",
    "RandAffined",
    "RandBlurd",
    "RandContrastd",
    "RandCutd",
    "RandDistractorsd",
    "RandFactord",
    "RandFlipd",
    "RandGammad",
    "RandMissingd",
    "RandNoised",
    "RandOffsetd",
    "RandPaird",
    "RandPlacementd",
    "RandScand",
    "RandShadingd",
    "paint_labels",
]
