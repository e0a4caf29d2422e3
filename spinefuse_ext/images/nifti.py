"""NIfTI-1 and NIfTI-2, in one file or two, compressed or not: checked, then read by nibabel and no other reader."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from spinefuse_ext.formats import Kind, image_stem, voxels_of
from spinefuse_ext.images.data_size import check_data_size, surplus
from spinefuse_ext.images.image_content import image_content, is_gzipped, nifti_header, unreadable
from spinefuse_ext.images.nifti_place import nifti_place
from spinefuse_ext.images.stored_image import StoredImage
from spinefuse_ext.validation import ImageReadError

#: By the length of a header: where its signature stands, and what follows from it.
_KINDS: dict[int, tuple[int, dict[bytes, Any]]] = {
    348: (344, {b"n+1\0": nib.Nifti1Header, b"ni1\0": nib.nifti1.Nifti1PairHeader}),
    540: (4, {b"n+2\0": nib.Nifti2Header, b"ni2\0": nib.nifti2.Nifti2PairHeader}),
}
_EMPTY_MAGIC = b"\0\0\0\0"
_CHUNK, _MOST_TAIL = 2**20, 2**26  # bytes after the voxels that are read to have the checksum of gzip compared
_AXES = ("", "", "", "time points, echoes or directions", "components", "6th-axis parts", "7th-axis parts")


def read_nifti(path: Path, volumes: int = 1) -> StoredImage:
    """Read the one volume of a NIfTI file, scaled, with its place in RAS mm; or several, ``(X, Y, Z, volumes)``.

    The header of a pair finds its voxels in the file of the same stem, ``.img`` or ``.img.gz``.

    Raises:
        ImageReadError: It is damaged, cut off, an Analyze image or a header without its voxels; or holds several
            volumes, vectors, colours or complex numbers.
    """
    try:
        with _opened(path) as stream:
            header = _header(stream, path)
        shape = _grid(header, path, volumes)
        data = path if header.is_single else _data_file(path)
        _check_size(header, data)
        sizes = shape if volumes == 1 else (*shape, volumes)
        with _opened(data) as stream:
            voxels = _voxels(stream, header, sizes)
            found = _after_voxels(_bytes_left(stream), header, sizes, path)
    except ImageReadError:
        raise
    except (OSError, EOFError, zlib.error, ValueError, KeyError, HeaderDataError) as error:
        raise unreadable(path, _last_line(error)) from error
    place = nifti_place(header, shape, path)
    return StoredImage(voxels, replace(place, found=(*place.found, *found)))


def stored_shape(path: Path) -> tuple[int, ...] | None:
    """Shape of a NIfTI file with all its axes, None for any other file and for a damaged one."""
    header = _stored_header(path)
    return None if header is None else _shape(header)


def stored_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]] | None:
    """Shape and RAS affine of the one volume of a NIfTI file from its header alone, as ``read_nifti`` has them.

    None for any other file, and for one that ``read_nifti`` may refuse.
    """
    header = _stored_header(path)
    shape = () if header is None else _shape(header)
    try:
        return (shape, nifti_place(header, shape, path).affine) if len(shape) == 3 else None
    except (ImageReadError, ValueError, HeaderDataError):
        return None


def _stored_header(path: Path) -> Any:
    try:
        content = image_content(path)
        if content is None or content.kind != Kind.NIFTI:
            return None
        with _opened(path) as stream:
            return _header(stream, path)
    except (ImageReadError, OSError, EOFError, zlib.error, ValueError, HeaderDataError):
        return None


def _shape(header: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in header.get_data_shape())


def _opened(path: Path) -> IO[bytes]:
    """A file to be read from its first byte on, decompressed where it is compressed."""
    return cast("IO[bytes]", gzip.open(path) if is_gzipped(path) else path.open("rb"))


def _data_file(path: Path) -> Path:
    found = voxels_of(path)
    if found is None:
        missing = f"it is the header of a NIfTI pair, and its voxels, {image_stem(path)}.img, are not beside it"
        raise unreadable(path, missing, "put them there, or save the image as one .nii.gz file")
    return found


def _header(stream: IO[bytes], path: Path) -> Any:
    block = stream.read(540)
    length, order = nifti_header(block) or (348, "<")
    start, kinds = _KINDS[length]
    found = block[start : start + 4]
    if found == _EMPTY_MAGIC:
        raise unreadable(path, "it is an Analyze image, which says no orientation", "export it as NIfTI")
    if found not in kinds:
        raise unreadable(path, f"its NIfTI signature is {found!r} instead of {next(iter(kinds))!r}, so it is damaged")
    if len(block) < length:
        raise unreadable(path, "it ends within its header")
    return kinds[found](block[:length], endianness=order, check=False)


def _grid(header: Any, path: Path, volumes: int) -> tuple[int, ...]:
    """Return ``(X, Y, Z)``; refuse everything that is not as many grey volumes."""
    kind = header.get_data_dtype()
    if kind.kind == "c":
        cure = "export the magnitude"
        raise unreadable(path, "it holds complex numbers, real and imaginary parts, of which none is the image", cure)
    if kind.fields is not None:
        raise unreadable(path, "it holds colours (RGB), no grey values", "export the image itself, not a picture of it")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise unreadable(path, f"its header claims {int(header['dim'][0])} dimensions")
    shape = tuple(int(size) for size in header.get_data_shape())
    several = [place for place, size in enumerate(shape) if place >= 3 and size > 1]
    if len(shape) < 3 or prod(shape[3:]) != volumes:
        what = f"{shape[several[0]]} {_AXES[several[0]]}" if several else f"{len(shape)} dimensions"
        got = tuple(size for size in shape[3:] if size > 1) + shape[:3]
        raise ImageReadError(f"{path} should hold one 3-D volume, got {got} (channel first: {what}); split it.")
    return shape[:3]


def _check_size(header: Any, path: Path) -> None:
    """Refuse voxels that are cut off; ``path`` is the file that holds them."""
    offset, gzipped = int(header.get_data_offset()), is_gzipped(path)
    if header.is_single and offset < header.sizeof_hdr:
        raise unreadable(path, f"its voxels begin at byte {offset}, within its header")
    kind, stored = header.get_data_dtype(), path.stat().st_size
    check_data_size(
        path, header.get_data_shape(), kind.itemsize, stored if gzipped else stored - offset, compressed=gzipped
    )


def _voxels(stream: IO[bytes], header: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    read = np.asanyarray(ArrayProxy(stream, header, mmap=False)).reshape(shape, order="F")
    return np.ascontiguousarray(read, dtype=np.float32)


def _bytes_left(stream: IO[bytes]) -> int:
    """Read what follows the voxels, and count it: only at the end does gzip say that its checksum is wrong."""
    left = 0
    while left < _MOST_TAIL and (chunk := stream.read(_CHUNK)):
        left += len(chunk)
    return left


def _after_voxels(left: int, header: Any, shape: tuple[int, ...], path: Path) -> list[str]:
    """Say what follows the voxels; refuse it where the header contradicts itself about the size of one."""
    width = header.get_data_dtype().itemsize
    said = surplus(left + prod(shape) * width, shape, width)
    if said and int(header["bitpix"]) not in (0, 8 * width):
        bits = f"{8 * width} bits a voxel by its datatype, but {int(header['bitpix'])} by bitpix"
        raise unreadable(path, f"its header is damaged: {bits}, and {left} bytes follow the voxels")
    return [f"{path}: {sentence}" for sentence in said]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip("'\"")
