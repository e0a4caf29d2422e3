"""A synthetic lumbar spine: one anatomy, a CT and an MR in two postures, and the truth about both."""

from __future__ import annotations

from spinefuse_ext.data.phantom.case import Phantom, make_phantom
from spinefuse_ext.data.phantom.labels import PhantomLabels, make_phantom_labels
from spinefuse_ext.data.phantom.points import PointPair
from spinefuse_ext.data.phantom.write import write_phantom, write_phantoms

__all__ = [
    "Phantom",
    "PhantomLabels",
    "PointPair",
    "make_phantom",
    "make_phantom_labels",
    "write_phantom",
    "write_phantoms",
]
