"""Cases: datalists and their guard, caches, writers, and the phantom."""

from typing import TYPE_CHECKING

from spinefuse_ext.data.cohort import make_datalist
from spinefuse_ext.data.collate import collate_cases
from spinefuse_ext.data.datalist import check_patients_apart, load_datalist
from spinefuse_ext.data.dataset import make_dataset
from spinefuse_ext.data.disk_cache import DiskCacheDataset
from spinefuse_ext.data.halves import HalvesSampler
from spinefuse_ext.data.scaled_writer import ScaledNibabelWriter
from spinefuse_ext.data.stack import stack_slices
from spinefuse_ext.data.unlabelled import load_unlabelled
from spinefuse_ext.data.writer import AtomicNibabelWriter, CaseLayout
from spinefuse_ext.packages import installed, names_without
from spinefuse_ext.renamed import renamed

_NEEDED = ("itk", "pydicom", "scipy")
if installed(*_NEEDED):
    from spinefuse_ext.data.label_check import check_labels
    from spinefuse_ext.data.phantom import Phantom, make_phantom, write_phantom, write_phantoms

__all__ = [
    "AtomicNibabelWriter",
    "CaseLayout",
    "DiskCacheDataset",
    "HalvesSampler",
    "Phantom",
    "ScaledNibabelWriter",
    "check_labels",
    "check_patients_apart",
    "collate_cases",
    "load_datalist",
    "load_unlabelled",
    "make_datalist",
    "make_dataset",
    "make_phantom",
    "stack_slices",
    "write_phantom",
    "write_phantoms",
]

_ABSENT = ["Phantom", "check_labels", "make_phantom", "write_phantom", "write_phantoms"]
_OLD = {"WholeNibabelWriter": "spinefuse_ext.data.writer.AtomicNibabelWriter"}

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, _OLD, None if installed(*_NEEDED) else names_without(__name__, _ABSENT, *_NEEDED))
