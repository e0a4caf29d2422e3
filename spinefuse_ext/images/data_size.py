"""Whether a file can hold the voxels that its header claims, found out before any memory is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

from spinefuse_ext.images.image_content import unreadable

#: Voxels of the largest volume that is read: a CT of 512 x 512 x 8192, or 8 GiB in float32.
MOST_VOXELS = 2**31
#: Deflate, the compression of gzip and zlib, gains no more than this.
_DEFLATE_GAIN = 1032
_PADDING = 4096  # bytes that a writer may fill a file up with


def surplus(stored: int, sizes: Sequence[int], voxel_bytes: int) -> tuple[str, ...]:
    """Say that uncompressed data of ``stored`` bytes goes on for a slice or more after the voxels that are claimed."""
    left = stored - prod(sizes) * voxel_bytes
    if left < max(_PADDING, prod(sizes[:2]) * voxel_bytes):
        return ()
    return (f"{left} bytes follow the {' x '.join(map(str, sizes))} voxels that the header claims; it may be wrong",)


def check_data_size(path: Path, sizes: Sequence[int], voxel_bytes: int, stored: int, *, compressed: bool) -> None:
    """Raise ``ImageReadError`` where ``stored`` bytes of data cannot be ``sizes`` voxels of ``voxel_bytes`` each.

    Uncompressed data must be there in full; compressed data may grow by the most that its method can gain.
    """
    claimed = prod(sizes) * voxel_bytes
    named = f"its header claims {' x '.join(map(str, sizes))} voxels"
    if not sizes or any(size < 1 for size in sizes):
        raise unreadable(path, f"{named}, which is no size")
    if prod(sizes) > MOST_VOXELS:
        raise unreadable(path, f"{named}, more than the {MOST_VOXELS} that are read", "crop it, or correct the header")
    if claimed > stored * (_DEFLATE_GAIN if compressed else 1):
        words = f"it has {stored}" + (f" compressed, {stored * _DEFLATE_GAIN} at most" if compressed else "")
        raise unreadable(path, f"{named} in {claimed} bytes, but {words}: it was cut off or its header is wrong")
