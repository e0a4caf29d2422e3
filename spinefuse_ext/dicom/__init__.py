"""DICOM series and image files, in and out."""

from spinefuse_ext.dicom.read_series import Series, find_series, read_series
from spinefuse_ext.dicom.volume import read_volume, write_volume
from spinefuse_ext.dicom.write_series import StudyHeader, write_series

__all__ = ["Series", "StudyHeader", "find_series", "read_series", "read_volume", "write_series", "write_volume"]
