"""Volumes and labels from whatever holds them, a DICOM folder or an image file, and back to image files."""

from spinefuse_ext.packages import installed, names_without

_NEEDED = ("itk", "pydicom", "scipy")
if installed(*_NEEDED):
    from spinefuse_ext.images.ct_values import check_hounsfield
    from spinefuse_ext.label_files.label_classes import LabelScheme
    from spinefuse_ext.label_files.label_grid import label_findings, label_on_grid
    from spinefuse_ext.volumes.read_label import label_for, read_label
    from spinefuse_ext.volumes.volume import read_volume, write_volume

__all__ = [
    "LabelScheme",
    "check_hounsfield",
    "label_findings",
    "label_for",
    "label_on_grid",
    "read_label",
    "read_volume",
    "write_volume",
]

if not installed(*_NEEDED):
    __getattr__ = names_without(__name__, __all__, *_NEEDED)
