"""What ``import spinefuse_ext as sf`` offers: the verbs that read, register, fuse and segment, as Python functions."""

from spinefuse_ext.api.calls import fuse, register, segment
from spinefuse_ext.api.images import Image, PointList, Volume
from spinefuse_ext.api.results import Fusion, Registration, Segmentation
from spinefuse_ext.volumes.volume import read_volume

__all__ = [
    "Fusion",
    "Image",
    "PointList",
    "Registration",
    "Segmentation",
    "Volume",
    "fuse",
    "read_volume",
    "register",
    "segment",
]
