"""A gzip or zlib stream followed to its end, so that one that was cut off or damaged is not filled up with zeros."""

from __future__ import annotations

import zlib
from pathlib import Path

from spinefuse_ext.images.image_content import unreadable

_CHUNK = 2**20
_EITHER = 32 + zlib.MAX_WBITS  # gzip or zlib, told by the first bytes


def check_compressed(path: Path, data: Path, start: int, claimed: int) -> int:
    """Return the length of the stream in ``data`` from byte ``start``, which unpacks to ``claimed`` bytes.

    Raises:
        ImageReadError: It is damaged, or unpacks to fewer.
    """
    inflater, found, used = zlib.decompressobj(_EITHER), 0, 0
    try:
        with data.open("rb") as file:
            file.seek(start)
            while not inflater.eof and found <= claimed and (chunk := file.read(_CHUNK)):
                used += len(chunk)
                found += len(inflater.decompress(chunk, claimed + 1 - found))
                while inflater.unconsumed_tail and found <= claimed:
                    found += len(inflater.decompress(inflater.unconsumed_tail, claimed + 1 - found))
    except zlib.error as error:
        raise unreadable(path, f"its compressed data is damaged: {error}") from error
    if found < claimed:
        raise unreadable(path, f"its data was cut off: {found} of {claimed} bytes are there")
    return used - len(inflater.unused_data) - len(inflater.unconsumed_tail)
