"""MetaImage, attached or detached: the header checked in full, then read by ITK's reader of it and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from math import isfinite, prod
from pathlib import Path

from spinefuse_ext.images.compressed import check_compressed
from spinefuse_ext.images.data_size import check_data_size, surplus
from spinefuse_ext.images.image_content import unreadable
from spinefuse_ext.images.itk_pixels import read_by_itk
from spinefuse_ext.images.stored_image import StoredImage
from spinefuse_ext.images.text_header import TextHeader, data_files, numbered, read_meta_header
from spinefuse_ext.images.text_place import checked_place
from spinefuse_ext.validation import ImageReadError

_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR", "MET_ASCII_CHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG", "MET_ULONG"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_TRUE = ("true", "1")
_SPACING = ("elementspacing", "elementsize")
_SAVE_AGAIN = "save it again in ITK or 3D Slicer"


def read_metaimage(path: Path) -> StoredImage:
    """Read the one volume of a MetaImage file with its place in RAS mm.

    Raises:
        ImageReadError: It is damaged, cut off or without its data file, or holds several volumes, vectors or colours.
    """
    header = read_meta_header(path)
    sizes = _one_volume(header, path)
    found = _check_data(header, sizes, path)
    _check_spacing(header, path)
    voxels, affine = read_by_itk(path, "MetaImageIO")
    unit = header.get("distanceunits")
    place = checked_place(path, affine, unit=unit, missing=_missing(header))
    return StoredImage(voxels, replace(place, found=(*place.found, *(f"{path}: {sentence}" for sentence in found))))


def _one_volume(header: TextHeader, path: Path) -> list[int]:
    try:
        sizes = [int(number) for number in (header.get("dimsize") or "").split()]
        channels = int(header.get("elementnumberofchannels") or 1)
    except ValueError as error:
        raise unreadable(path, f"its header is damaged: {error}") from error
    if not sizes:
        raise unreadable(path, "its header has no DimSize")
    if channels != 1:
        raise ImageReadError(f"{path} should hold one 3-D volume, got {channels} values a voxel; split it.")
    if len(sizes) < 3 or any(size > 1 for size in sizes[3:]):
        raise ImageReadError(f"{path} should hold one 3-D volume, got {tuple(sizes)}; split it.")
    return sizes


def _check_data(header: TextHeader, sizes: list[int], path: Path) -> tuple[str, ...]:
    """Refuse data that is missing, cut off or in an unknown form; return what is odd about it."""
    kind = (header.get("elementtype") or "").upper()
    if kind not in _BYTES:
        raise unreadable(path, f"its voxels are of the type {kind or 'none'}, which is no grey value")
    if header.get("elementdatafile") is None:
        raise unreadable(path, "its header names no ElementDataFile")
    if (header.get("binarydata") or "true").lower() not in _TRUE:
        raise unreadable(path, "its voxels are written as text (BinaryData)", "save it again with binary data")
    compressed = (header.get("compresseddata") or "").lower() in _TRUE
    files = _files(header, sizes, path)
    skip = int(header.get("headersize") or 0) if (header.get("headersize") or "").isdigit() else 0
    stored = sum(max(file.stat().st_size - skip, 0) for file in files) if files else path.stat().st_size - header.end
    check_data_size(path, sizes, _BYTES[kind], stored, compressed=compressed)
    if compressed and len(files) < 2:
        start = skip if files else header.end
        length = check_compressed(path, files[0] if files else path, start, prod(sizes) * _BYTES[kind])
        _check_compressed_size(header, (length, stored), path)
    return () if compressed else surplus(stored, sizes, _BYTES[kind])


def _check_compressed_size(header: TextHeader, lengths: tuple[int, int], path: Path) -> None:
    """Refuse a CompressedDataSize beyond the lengths of the stream and of all data: ITK reads by it, unchecked."""
    named = header.get("compresseddatasize")
    right = str(lengths[0])
    if named is None and (header.get("elementdatafile") or "").upper() == "LOCAL":
        raise unreadable(path, f"its CompressedDataSize, {right}, is missing", _SAVE_AGAIN)
    if named is not None and not (named.isdigit() and lengths[0] <= int(named) <= lengths[1]):
        raise unreadable(path, f"its CompressedDataSize should be {right}, but it says {named}", _SAVE_AGAIN)


def _files(header: TextHeader, sizes: list[int], path: Path) -> list[Path]:
    """Return the data files of a detached header; none for an attached one."""
    named = header.get("elementdatafile") or ""
    if named.upper() == "LOCAL":
        return []
    if named.upper().startswith("LIST"):
        if not path.read_bytes().endswith(b"\n"):  # ITK leaves the last slice out, filled with what is in memory
            raise unreadable(path, "its list of data files does not end with a line break", "add one")
        return data_files(path, list(header.listed))
    parts = named.split()
    if "%" in parts[0]:
        ends = [int(part) for part in parts[1:4] if re.fullmatch(r"-?\d+", part)]
        first, last, step = [*ends, *(1, sizes[-1], 1)[len(ends) :]]
        return data_files(path, numbered(parts[0], first, last, step))
    return data_files(path, [named])


def _check_spacing(header: TextHeader, path: Path) -> None:
    named = header.get(*_SPACING)
    if named is None:
        return
    try:
        sizes = [float(number) for number in named.split()]
    except ValueError:
        sizes = []
    if not sizes or not all(isfinite(size) and size > 0 for size in sizes):
        raise unreadable(path, f"its ElementSpacing is {named}, which is no voxel size")


def _missing(header: TextHeader) -> str | None:
    """What of the place the header leaves out, in words; None for nothing."""
    if header.get(*_SPACING) is None:
        return "no voxel size (ElementSpacing), so neither size nor place"
    if header.get("transformmatrix", "orientation", "rotation") is None:
        return "no orientation (TransformMatrix)"
    return None if header.get("offset", "position", "origin") is not None else "no position (Offset)"
