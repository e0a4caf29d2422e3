"""Whether files changed since they were used, told by their names, sizes and times of change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from spinefuse_ext.images.image_files import image_files


def fingerprint(path: Path) -> dict[str, Any] | None:
    """Number of files, bytes, newest change (ns since 1970) and a digest of what ``path`` stands for; None if absent.

    It stands for the files that ``image_files`` returns. Their contents are not read: a series of a thousand slices
    takes no time.
    """
    if not path.exists():
        return None
    digest, count, total, newest = hashlib.sha256(), 0, 0, 0
    root, files = image_files(path)
    for file in files:
        name, status = file.relative_to(root).as_posix(), file.stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
        count, total, newest = count + 1, total + status.st_size, max(newest, status.st_mtime_ns)
    return {"files": count, "bytes": total, "newest_ns": newest, "digest": digest.hexdigest()}
