"""Cases: datalists and their guard, caches, writers, and the phantom."""

from spinefuse_ext.data.cohort import make_datalist
from spinefuse_ext.data.collate import collate_cases
from spinefuse_ext.data.datalist import check_patients_apart, load_datalist
from spinefuse_ext.data.dataset import make_dataset
from spinefuse_ext.data.disk_cache import DiskCacheDataset
from spinefuse_ext.data.halves import HalvesSampler
from spinefuse_ext.data.scaled_writer import ScaledNibabelWriter
from spinefuse_ext.data.stack import stack_slices
from spinefuse_ext.data.unlabelled import load_unlabelled
from spinefuse_ext.data.writer import CaseLayout, WholeNibabelWriter
from spinefuse_ext.packages import installed, names_without

_NEEDED = ("itk", "pydicom", "scipy")
if installed(*_NEEDED):
    from spinefuse_ext.data.label_check import check_labels
    from spinefuse_ext.data.phantom import Phantom, make_phantom, write_phantom, write_phantoms

__all__ = [
    "CaseLayout",
    "DiskCacheDataset",
    "HalvesSampler",
    "Phantom",
    "ScaledNibabelWriter",
    "WholeNibabelWriter",
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

if not installed(*_NEEDED):
    __getattr__ = names_without(
        __name__, ["Phantom", "check_labels", "make_phantom", "write_phantom", "write_phantoms"], *_NEEDED
    )
