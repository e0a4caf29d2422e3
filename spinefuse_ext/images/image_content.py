"""What an image file is, told by its first bytes and never by its name."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

from spinefuse_ext.formats import FORMATS, Kind
from spinefuse_ext.images.kind import is_dicom_file
from spinefuse_ext.validation import ImageReadError

_HEAD = 4096  # bytes looked at; a MetaImage may begin with comments
_NIFTI_SIZES = (348, 540)  # of the header of NIfTI-1 (and Analyze) and NIfTI-2
_GZIP = b"\x1f\x8b"
#: What people name as an image, and what to do with it.
_FOREIGN = (
    (0, b"\x89PNG", "a PNG picture; make a volume of all slices with `spinefuse stack`"),
    (0, b"\xff\xd8\xff", "a JPEG picture; make a volume of all slices with `spinefuse stack`"),
    (0, b"II*\x00", "a TIFF picture; export the volume as NIfTI"),
    (0, b"MM\x00*", "a TIFF picture; export the volume as NIfTI"),
    (0, b"BM", "a BMP picture; make a volume of all slices with `spinefuse stack`"),
    (0, b"PK\x03\x04", "a ZIP archive; unpack it and name what is in it"),
    (0, b"%PDF", "a PDF document; export the image itself"),
    (0, b"<", "a web page or XML text; download or export the image again"),
    (0, b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with `git lfs pull`"),
    (0, b"../.git/annex", "a pointer of git-annex; fetch the file itself with `git annex get`"),
    (0, b"/annex/objects", "a pointer of git-annex; fetch the file itself with `git annex get`"),
    (0, b"BZh", "compressed by bzip2; unpack it"),
    (0, b"\xfd7zXZ", "compressed by xz; unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it"),
    (0, b"\x89HDF", "an HDF5 file (MINC 2, MATLAB); convert it to NIfTI"),
    (0, b"CDF", "a NetCDF file (MINC 1); convert it to NIfTI"),
)


class Content(NamedTuple):
    """The format of a file, and whether the whole of it is compressed by gzip."""

    kind: Kind
    gzipped: bool


def image_content(path: Path) -> Content | None:
    """Return what the bytes of a file are, or None for no format that is known.

    Raises:
        ImageReadError: It is a known other thing (a picture, an archive, a web page), empty, or a damaged gzip.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise unreadable(path, "it is empty")
    gzipped = head.startswith(_GZIP)
    if gzipped:
        head = _unzipped(path)
    begun = (each.kind for each in FORMATS if each.begins.search(head))
    kind = Kind.DICOM if is_dicom_file(path) else next(begun, None)
    if kind is None:
        _refuse_foreign(path, head)
        return None
    return Content(kind, gzipped)


def unreadable(path: str | Path, reason: str, cure: str = "export it again") -> ImageReadError:
    """The one sentence on a file that is damaged or of another kind than it claims."""
    return ImageReadError(f"{path} cannot be read as an image ({reason}); {cure}.")


def nifti_header(head: bytes) -> tuple[int, str] | None:
    """Length and byte order ("<", ">") of the NIfTI or Analyze header that ``head`` begins with, or None."""
    little, big = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    return next(((size, order) for size, order in ((little, "<"), (big, ">")) if size in _NIFTI_SIZES), None)


def is_gzipped(path: Path) -> bool:
    """Whether the whole of a file is compressed by gzip."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _unzipped(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, f"its gzip compression is damaged: {error}") from error


def _refuse_foreign(path: Path, head: bytes) -> None:
    if head.startswith(_GZIP):
        raise unreadable(path, "it is compressed twice by gzip", "unpack it once")
    for start, magic, what in _FOREIGN:
        if head[start:].startswith(magic):
            reason, _, cure = what.partition("; ")
            raise unreadable(path, f"it is {reason}", cure)
