"""One DICOM file, also where it lacks the preamble, the File Meta Information or its transfer syntax."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from spinefuse_ext.images.kind import is_dicom_file, standard_file

_PREFIX = b"DICM"


def read_file(path: Path, **options: Any) -> FileDataset:
    """Read a file that ``is_dicom_file`` says is DICOM, by ``pydicom.dcmread`` with its options.

    The File Meta Information of the result always names a transfer syntax: that of the file, or the one that its first
    element is written in.
    """
    if standard_file(path):
        file = pydicom.dcmread(path, **options)
    else:
        content = path.read_bytes() if _begins_with_prefix(path) else None
        file = pydicom.dcmread(path if content is None else BytesIO(bytes(128) + content), force=True, **options)
    if not file.file_meta.get("TransferSyntaxUID"):
        file.file_meta.TransferSyntaxUID = _syntax(file)
    return file


def is_directory_file(path: Path) -> bool:
    """Say whether a file is the table of contents of a medium (DICOMDIR), which stands for its folder."""
    if not path.is_file() or not is_dicom_file(path):
        return False
    try:
        file = read_file(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # pydicom has one of its own for each kind of damage
        return False
    return bool(file.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)


def _begins_with_prefix(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PREFIX)) == _PREFIX


def _syntax(file: FileDataset) -> UID:
    """How a data set without a transfer syntax was read; pydicom tells by its first element."""
    implicit, little = getattr(file, "original_encoding", None) or (file.is_implicit_VR, file.is_little_endian)
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
