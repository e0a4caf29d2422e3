"""NRRD, attached or detached: the header checked in full, then read by ITK's NRRD reader and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import Path

from spinefuse_ext.images.compressed import check_compressed
from spinefuse_ext.images.data_size import check_data_size, surplus
from spinefuse_ext.images.image_content import unreadable
from spinefuse_ext.images.itk_pixels import read_by_itk
from spinefuse_ext.images.stored_image import StoredImage
from spinefuse_ext.images.text_header import TextHeader, data_files, numbered, read_nrrd_header
from spinefuse_ext.images.text_place import checked_place
from spinefuse_ext.validation import ImageReadError

_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64"), 8),
    **dict.fromkeys(("int64_t", "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    "float": 4,
    "double": 8,
}
_GZIP, _TEXT = ("gzip", "gz"), ("ascii", "text", "txt", "hex")
_ANATOMICAL = re.compile(r"(right|left)-(anterior|posterior)-superior|[RL][AP]S", re.IGNORECASE)
_SPATIAL = {"domain", "space", "???", "none"}


def read_nrrd(path: Path) -> StoredImage:
    """Read the one volume of a NRRD file with its place in RAS mm.

    Raises:
        ImageReadError: It is damaged, cut off or without its data file; compressed by bzip2; or holds several volumes,
            vectors, colours or overlapping segments.
    """
    header = read_nrrd_header(path)
    sizes = _one_volume(header, path)
    found = _check_data(header, sizes, path)
    voxels, affine = read_by_itk(path, "NrrdImageIO")
    if voxels.size != prod(sizes):
        raise unreadable(path, f"{voxels.shape} voxels were read of {tuple(sizes)}")
    place = checked_place(path, affine, unit=_unit(header), missing=_missing(header))
    place = replace(place, found=(*place.found, *(f"{path}: {sentence}" for sentence in found)))
    return StoredImage(voxels, place, is_labels=_is_segmentation(header))


def _one_volume(header: TextHeader, path: Path) -> list[int]:
    sizes = _numbers(header, "sizes", path)
    kinds = (header.get("kinds") or "").split()
    several = [place for place, size in enumerate(sizes) if size > 1]
    directions = re.findall(r"none|\([^)]*\)", (header.get("space directions") or "").lower())
    aimless = [found == "none" for found in directions]
    listed = [
        place
        for place in several
        if (place < len(kinds) and kinds[place].lower() not in _SPATIAL) or (place < len(aimless) and aimless[place])
    ]
    if _is_segmentation(header) and (len(several) > 3 or listed):
        layers = sizes[0]
        raise ImageReadError(
            f"{path} is a segmentation of {layers} layers with overlapping segments, not one 3-D volume; in 3D Slicer "
            "export the segments to one label map."
        )
    if len(sizes) < 3 or len(sizes) - 3 > sizes.count(1) or listed:
        what = f", {sizes[listed[0]]} values a voxel" if listed else ""
        raise ImageReadError(f"{path} should hold one 3-D volume, got {tuple(sizes)}{what}; split it.")
    return sizes


def _check_data(header: TextHeader, sizes: list[int], path: Path) -> tuple[str, ...]:
    """Refuse data that is missing, cut off or in an unknown form; return what is odd about it."""
    kind, encoding = (header.get("type") or "").lower(), (header.get("encoding") or "").lower()
    if kind not in _BYTES:
        raise unreadable(path, f"its voxels are of the type {kind or 'none'}, which is no number")
    if encoding in ("bzip2", "bz2"):
        raise unreadable(path, "it is compressed by bzip2, which ITK does not read", "save it again with gzip")
    for field in ("space directions", "space origin"):
        if re.search(r"\b(nan|inf)", (header.get(field) or "").lower()):
            raise unreadable(path, f"its {field} hold NaN or infinity")
    if encoding not in ("raw", *_GZIP, *_TEXT):
        raise unreadable(path, f"its encoding is {encoding or 'missing'}")
    files = _files(header, path)
    stored = sum(file.stat().st_size for file in files) if files else path.stat().st_size - header.end
    width = 1 if encoding in _TEXT else _BYTES[kind]  # a number in text takes a byte or more
    check_data_size(path, sizes, width, stored, compressed=encoding in _GZIP)
    if {header.get("byte skip", "byteskip"), header.get("line skip", "lineskip")} - {None, "0"}:
        return ()
    if encoding in _GZIP and len(files) < 2:
        start = 0 if files else header.end
        check_compressed(path, files[0] if files else path, start, prod(sizes) * width)
    return surplus(stored, sizes, width) if encoding == "raw" else ()


def _files(header: TextHeader, path: Path) -> list[Path]:
    """Return the data files of a detached header; none for an attached one."""
    named = header.get("data file", "datafile")
    if named is None:
        return []
    if named.upper().startswith("LIST"):
        return data_files(path, list(header.listed))
    parts = named.split()
    if "%" in named and len(parts) >= 4 and all(re.fullmatch(r"-?\d+", part) for part in parts[1:4]):
        return data_files(path, numbered(parts[0], *(int(part) for part in parts[1:4])))
    return data_files(path, [named])


def _unit(header: TextHeader) -> str | None:
    found = re.findall(r'"([^"]*)"', header.get("space units") or "")
    return found[0] if found else None


def _missing(header: TextHeader) -> str | None:
    """What of the place the header leaves out, in words; None for nothing."""
    space = header.get("space")
    if space is None:
        return "no space, so neither place nor orientation"
    if not _ANATOMICAL.fullmatch(space):
        return f"the space {space}, which is none of the patient's, so neither place nor orientation"
    if header.get("space directions") is None:
        return "no space directions, so no orientation"
    return None if header.get("space origin") is not None else "no space origin, so no place"


def _is_segmentation(header: TextHeader) -> bool:
    return any(re.fullmatch(r"segment\d+_(id|name|labelvalue)", key) for key in header.fields)


def _numbers(header: TextHeader, name: str, path: Path) -> list[int]:
    try:
        found = [int(number) for number in (header.get(name) or "").split()]
    except ValueError:
        found = []
    if not found:
        raise unreadable(path, f"its header has no {name}")
    return found
