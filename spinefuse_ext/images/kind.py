"""Tell DICOM from other files, by the first bytes: but for a damaged ``.dcm``, names and endings say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from spinefuse_ext.formats import DICOM_SUFFIXES

_Order = Literal["little", "big"]

_PREAMBLE_BYTES = 128  # DICOM PS3.10, section 7.1
_PREFIX = b"DICM"
_ARCHIVE = b"PK\x03\x04"
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00UI"  # the tag and its type, as the File Meta Information has them
_ENOUGH = 4096  # bytes that hold the class of an image, however long the kinds of image before it
_LONG = tuple(b"OB OW OF SQ UN UT OD OL OV UC UR SV UV".split())
_SHORT = tuple(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_IDENTIFYING, _SOP_CLASS, _MODALITY = 0x0008, 0x0016, 0x0060
_DICOM_CLASSES = b"1.2.840.10008."


def is_dicom(path: str | Path) -> bool:
    """Say whether an image is one or several files of DICOM: a folder, a ZIP archive, or a file of a series."""
    path = Path(path)
    if not path.is_file():
        return path.is_dir()
    return path.suffix.lower() in DICOM_SUFFIXES or is_archive(path) or is_dicom_file(path)


def is_archive(path: Path) -> bool:
    """Say whether a file is a ZIP archive, which stands for the folder that was packed."""
    return path.is_file() and _start(path).startswith(_ARCHIVE)


def is_dicom_file(path: Path) -> bool:
    """Say whether the first bytes of a file are those of DICOM, whatever its name.

    A file without the preamble, or without the File Meta Information too, as old archives and some programs leave it,
    is told by its first elements.
    """
    start = _start(path)
    return _is_standard(start) or start.startswith(_PREFIX + b"\x02\x00") or _is_meta(start) or _is_data_set(start)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_ENOUGH)


def _is_standard(start: bytes) -> bool:
    """Say whether the first bytes of a file are the preamble and prefix of the standard."""
    return start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)] == _PREFIX


def standard_file(path: Path) -> bool:
    """Say whether a file begins as the standard has it, transfer syntax included: any DICOM library reads it."""
    start = _start(path)
    return _is_standard(start) and _TRANSFER_SYNTAX in start


def _is_meta(start: bytes) -> bool:
    """Whether the File Meta Information (always explicit little endian) stands at the very beginning."""
    return start[:2] == b"\x02\x00" and start[3:4] == b"\x00" and start[4:6] in (b"UL", b"OB", b"UI")


def _is_data_set(start: bytes) -> bool:
    """Whether elements of group 0008 in rising order lead to the class or the modality of an object."""
    last = -1
    for element, value in _identifying(start):
        if element <= last:
            return False
        if element == _SOP_CLASS:
            return value.startswith(_DICOM_CLASSES)
        if element == _MODALITY:
            return value.strip(b" \0").isalpha()
        last = element
    return False


def _identifying(start: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each whole element of group 0008 from the first byte on."""
    order: _Order = "little" if start[:2] == b"\x08\x00" else "big"
    place = 0
    while place + 12 <= len(start):
        group, element = (int.from_bytes(start[place + at : place + at + 2], order) for at in (0, 2))
        first, size = _value_of(start[place : place + 12], order)
        if group != _IDENTIFYING or place + first + size > len(start):
            return
        yield element, start[place + first : place + first + size]
        place += first + size


def _value_of(head: bytes, order: _Order) -> tuple[int, int]:
    """Return where the value of an element begins in it, and its length, for an explicit or an implicit type."""
    kind = head[4:6]
    if kind in _LONG:
        return 12, int.from_bytes(head[8:12], order)
    if kind in _SHORT:
        return 8, int.from_bytes(head[6:8], order)
    return 8, int.from_bytes(head[4:8], order)
