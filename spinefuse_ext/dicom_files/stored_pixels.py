"""Whether DICOM files hold the pixels that their headers claim, before a decoder fills up or cuts off values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from spinefuse_ext.dicom_files.read_file import read_file
from spinefuse_ext.dicom_files.series import Slice
from spinefuse_ext.images.kind import standard_file
from spinefuse_ext.validation import ImageReadError

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SIZE = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated")
_BITS = ("BitsStored", "HighBit")
_UNDEFINED = 0xFFFFFFFF  # length of compressed pixels
_WORD = 16
_LONG = 4096  # bytes from which a value stays on the disk


def check_stored_pixels(slices: Sequence[Slice]) -> None:
    """Raise ``ImageReadError``, naming the file, where uncompressed pixels are missing, too few or stored shifted."""
    for path in dict.fromkeys(each.path for each in slices):
        file = read_file(path, specific_tags=[*_PIXELS, *_SIZE, *_BITS], defer_size=_LONG)
        element = _pixels(file)
        if element is None:
            raise ImageReadError(f"{path} holds no pixels, or is cut off in them; export it again or leave it out.")
        fault = _fault(file, element, path) or _shifted(file, path)
        if fault:
            raise ImageReadError(f"{path} is damaged: {fault}; export it again or leave it out.")


def _pixels(file: FileDataset) -> Any:
    """The element of the pixels as it stands in the file, or None."""
    return next((file.get_item(Tag(name), keep_deferred=True) for name in _PIXELS if name in file), None)


def _fault(file: FileDataset, element: Any, path: Path) -> str | None:
    stored = _stored(file, element, path)
    rows, columns, samples, frames, bits = (int(file.get(name) or 1) for name in _SIZE)
    claimed = (rows * columns * samples * frames * bits + 7) // 8
    if stored is None or stored >= claimed:
        return None
    size = f"{columns} x {rows} pixels" if frames == 1 else f"{frames} images of {columns} x {rows} pixels"
    return f"its header claims {size} in {claimed} bytes, but it has {stored}"


def _shifted(file: FileDataset, path: Path) -> str | None:
    """Name values that end above the lowest bit, which no decoder shifts down; a HighBit that is only wrong is none."""
    stored, high = (file.get(name) for name in _BITS)
    below = 0 if stored is None or high is None else high + 1 - stored
    if below <= 0 or file.get("BitsAllocated") != _WORD or file.file_meta.TransferSyntaxUID.is_compressed:
        return None
    order = "<" if file.file_meta.TransferSyntaxUID.is_little_endian else ">"
    values = np.frombuffer(read_file(path).PixelData, f"{order}u2")
    if (values % 2**below).any() or not values.any():
        return None
    return f"its values are stored {below} bits too high (BitsStored {stored}, HighBit {high})"


def _stored(file: FileDataset, element: Any, path: Path) -> int | None:
    """Bytes of uncompressed pixels; None for compressed ones."""
    if not isinstance(element, RawDataElement):  # pydicom has read an empty one already
        return len(element.value or b"")
    if element.length == _UNDEFINED:
        return None
    if not standard_file(path) or file.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        return element.length  # its place is not that in the file
    return max(min(element.length, path.stat().st_size - element.value_tell), 0)
