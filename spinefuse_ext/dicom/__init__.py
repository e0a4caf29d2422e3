"""DICOM series and image files, in and out."""

from spinefuse_ext.packages import installed, names_without

_NEEDED = ("itk", "pydicom", "scipy")
if installed(*_NEEDED):
    from spinefuse_ext.dicom.ct_values import check_hounsfield
    from spinefuse_ext.dicom.kind import is_dicom
    from spinefuse_ext.dicom.label_classes import LabelScheme
    from spinefuse_ext.dicom.label_grid import label_findings, label_on_grid
    from spinefuse_ext.dicom.read_label import label_for, read_label
    from spinefuse_ext.dicom.read_seg import Segment, read_seg
    from spinefuse_ext.dicom.read_series import read_series
    from spinefuse_ext.dicom.series import Series, find_series
    from spinefuse_ext.dicom.volume import read_volume, write_volume
    from spinefuse_ext.dicom.write_fused import write_fused
    from spinefuse_ext.dicom.write_seg import write_seg
    from spinefuse_ext.dicom.write_series import StudyHeader, write_series

__all__ = [
    "LabelScheme",
    "Segment",
    "Series",
    "StudyHeader",
    "check_hounsfield",
    "find_series",
    "is_dicom",
    "label_findings",
    "label_for",
    "label_on_grid",
    "read_label",
    "read_seg",
    "read_series",
    "read_volume",
    "write_fused",
    "write_seg",
    "write_series",
    "write_volume",
]

if not installed(*_NEEDED):
    __getattr__ = names_without(__name__, __all__, *_NEEDED)
