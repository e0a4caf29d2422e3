"""Images that were sent twice: told by their place and their pixels, whatever their UIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from spinefuse_ext.dicom_files.enhanced import stored_frames
from spinefuse_ext.dicom_files.placed import Placed, by_place
from spinefuse_ext.dicom_files.read_file import read_file
from spinefuse_ext.dicom_files.series import Slice
from spinefuse_ext.dicom_files.telling import signature, value_of

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_VALUES = ("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "PixelRepresentation")


def without_copies(images: Sequence[Placed]) -> tuple[list[Placed], list[Placed]]:
    """Return images that lie alike, in spatial order, each once, and the copies that were left out.

    A copy lies at the place of another image, is told apart from it by nothing but its UIDs and numbers, and has equal
    pixels and an equal rescaling. Images of one place that differ in their pixels all stay.
    """
    pixels: dict[Path, NDArray[np.float32]] = {}
    kept: list[Placed] = []
    copies: list[Placed] = []
    for place in by_place(images):
        seen: set[tuple[object, ...]] = set()
        signs = [(signature(image.slice.header), *np.round(image.corner, 2)) for image in place]
        for image, sign in zip(place, signs, strict=True):
            key = (*sign, pixel_digest(image.slice, pixels)) if signs.count(sign) > 1 else sign
            (copies if key in seen else kept).append(image)
            seen.add(key)
    return kept, copies


def pixel_digest(each: Slice, decoded: dict[Path, NDArray[np.float32]]) -> tuple[str, ...]:
    """What images with equal values share; the file's own path where its pixels cannot be read."""
    values = tuple(value_of(each.header, name) for name in _VALUES)
    try:
        return (*values, hashlib.sha256(_pixels(each, decoded)).hexdigest())
    except (AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError):
        return (*values, str(each.path))  # who reads the image says what is wrong


def _pixels(each: Slice, decoded: dict[Path, NDArray[np.float32]]) -> bytes:
    """The stored values as whole numbers, little endian, so that they are the same in whatever they were packed."""
    if each.frame is None:
        file = read_file(each.path)
        if file.file_meta.TransferSyntaxUID in _PLAIN:
            return bytes(file.PixelData[: file.Rows * file.Columns * file.BitsAllocated // 8])
        kind = "i" if file.PixelRepresentation else "u"
        return stored_frames(each.path).astype(f"<{kind}{file.BitsAllocated // 8}").tobytes()
    if each.path not in decoded:
        decoded[each.path] = stored_frames(each.path)
    return decoded[each.path][each.frame].tobytes()
