"""Whether files changed since they were used, told by their names, sizes and times of change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinefuse_ext.dicom.kind import is_dicom
from spinefuse_ext.formats import DETACHED_SUFFIXES, is_system_name


def fingerprint(path: Path) -> dict[str, Any] | None:
    """Number of files, bytes, newest change (ns since 1970) and a digest of what ``path`` stands for; None if absent.

    A folder stands for all files below it, a ``.dcm`` file for the folder it lies in (so are they read), and a header
    with detached voxels for all files of its stem. Contents are not read: a series of a thousand slices takes no time.
    """
    if not path.exists():
        return None
    digest, count, total, newest = hashlib.sha256(), 0, 0, 0
    for name, file in _files(path):
        status = file.stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
        count, total, newest = count + 1, total + status.st_size, max(newest, status.st_mtime_ns)
    return {"files": count, "bytes": total, "newest_ns": newest, "digest": digest.hexdigest()}


def _is_data(file: Path, root: Path) -> bool:
    """Whether no part of the way from ``root`` is a system's: such files change when somebody merely looks."""
    return not any(map(is_system_name, file.relative_to(root).parts))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Names below ``path`` in a fixed order, with their files."""
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".dcm" or is_dicom(path):
        root = path if path.is_dir() else path.parent
        found = sorted(file for file in root.rglob("*") if file.is_file() and _is_data(file, root))
        yield from ((file.relative_to(root).as_posix(), file) for file in found)
    elif suffix in DETACHED_SUFFIXES:
        yield from ((file.name, file) for file in sorted(path.parent.iterdir()) if file.stem == path.stem)
    else:
        yield path.name, path
