"""DICOM in and out: series read and written, DICOM SEG and fused series of a series that is there."""

from typing import TYPE_CHECKING

from spinefuse_ext.packages import installed, names_without
from spinefuse_ext.renamed import renamed

_NEEDED = ("itk", "pydicom", "scipy")
if installed(*_NEEDED):
    from spinefuse_ext.dicom.write_fused import write_fused
    from spinefuse_ext.dicom.write_seg import write_seg
    from spinefuse_ext.dicom.write_series import StudyHeader, write_series
    from spinefuse_ext.dicom_files.read_seg import Segment, read_seg
    from spinefuse_ext.dicom_files.read_series import read_series
    from spinefuse_ext.dicom_files.series import Series, find_series
    from spinefuse_ext.images.kind import is_dicom

__all__ = [
    "Segment",
    "Series",
    "StudyHeader",
    "find_series",
    "is_dicom",
    "read_seg",
    "read_series",
    "write_fused",
    "write_seg",
    "write_series",
]

_MOVED = ("LabelScheme", "check_hounsfield", "label_findings", "label_for", "label_on_grid", "read_label")
_NAMES = {name: f"spinefuse_ext.volumes.{name}" for name in (*_MOVED, "read_volume", "write_volume")}

if not installed(*_NEEDED):
    __getattr__ = names_without(__name__, [*__all__, *_NAMES], *_NEEDED)
elif not TYPE_CHECKING:
    __getattr__ = renamed(__name__, _NAMES)
