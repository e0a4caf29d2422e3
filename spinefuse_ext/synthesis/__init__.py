"""Images of any contrast from label maps, phantoms and real scans: whole batches, on the device, by config."""

from spinefuse_ext.synthesis.artefacts import RandCutd, RandScand
from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.contrast import RandContrastd
from spinefuse_ext.synthesis.distractors import RandDistractorsd
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.synthesis.paint import paint_labels
from spinefuse_ext.synthesis.placement import RandPlacementd

__all__ = [
    "BatchTransform",
    "Draws",
    "RandContrastd",
    "RandCutd",
    "RandDistractorsd",
    "RandPlacementd",
    "RandScand",
    "paint_labels",
]
