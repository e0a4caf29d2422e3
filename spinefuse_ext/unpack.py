"""Archives from outside are unpacked into their folder, or not at all."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from spinefuse_ext.printable import printable
from spinefuse_ext.validation import ArchiveError

#: Bytes that an archive may become, and how many times its own size from a megabyte on: more is a bomb.
_MOST_BYTES = 64 * 2**30
_MOST_TIMES = 200
_FILES = 100_000


def unpack(path: str | Path, folder: str | Path) -> None:
    """Unpack the zip or tar ``path`` into ``folder``; nothing is written when one member is refused.

    Raises:
        ArchiveError: no such archive; or it holds a path out of the folder, a link, a device, or far too much.
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check(path, _zip_members(archive))
                archive.extractall(folder)
        else:
            with tarfile.open(path) as bundle:
                _check(path, _tar_members(bundle))
                bundle.extraction_filter = getattr(tarfile, "data_filter", None)  # Python from 3.12 on asks for one
                bundle.extractall(folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"{path} is no zip or tar that can be unpacked ({error}); download it again.") from error


def _zip_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bool, int]]:
    """Name, whether it is a file or a folder and no link, and bytes, of each member."""
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        yield member.orig_filename, kind in (0, stat.S_IFREG, stat.S_IFDIR), member.file_size


def _tar_members(archive: tarfile.TarFile) -> Iterator[tuple[str, bool, int]]:
    for member in archive:
        yield member.name, member.isreg() or member.isdir(), member.size


def _check(path: Path, members: Iterator[tuple[str, bool, int]]) -> None:
    size, most = 0, max(2**20 * _MOST_TIMES, min(_MOST_BYTES, path.stat().st_size * _MOST_TIMES))
    for number, (name, plain, bytes_) in enumerate(members):
        size += bytes_
        if not plain or not _inside(name):
            shown = printable(name, keep="")
            raise ArchiveError(
                f"{path} holds {shown}, which is a link or leads out of its folder; nothing was unpacked."
            )
        if size > most or number > _FILES:
            raise ArchiveError(f"{path} would become far larger than an archive of its size is; nothing was unpacked.")


def _inside(name: str) -> bool:
    """Whether a member's name leads into the folder; a drive or a backslash would lead out of it on Windows."""
    hostile = {"\\", ":", "\x00"} & set(name)
    return bool(name) and not hostile and not name.startswith("/") and ".." not in PurePosixPath(name).parts
