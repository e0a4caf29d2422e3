"""Tell DICOM from image files, by the first bytes alone."""

from __future__ import annotations

from pathlib import Path

_PREAMBLE_BYTES = 128  # DICOM PS3.10, section 7.1
_PREFIX = b"DICM"


def is_dicom(path: str | Path) -> bool:
    """Say whether an image is DICOM: only that comes as a folder, or as a file whose first bytes say so."""
    path = Path(path)
    if not path.is_file():
        return path.is_dir()
    with path.open("rb") as file:
        return file.read(_PREAMBLE_BYTES + len(_PREFIX))[_PREAMBLE_BYTES:] == _PREFIX
