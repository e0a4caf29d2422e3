"""Paths in the cells of a table: as typed, or without what a spreadsheet or another system put around them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from spinefuse_ext.names import UNSEEN, on_disk
from spinefuse_ext.validation import CohortError

logger = logging.getLogger(__name__)

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def find_cell(cell: str, root: Path) -> str:
    r"""Return the path that a cell of a table in ``root`` means, relative to ``root`` or absolute.

    What is typed counts first, blanks included. Where nothing stands there, blanks, quotes and unseen signs around it
    are left out, and ``\`` is read as ``/``. A path to nothing comes back without blanks around it.
    """
    for path in _meant(cell):
        if _exists(root / path):
            if "\\" in cell and "\\" not in path:
                logger.warning("The path %s of the table is read as %s.", cell, path)
            return path
    return cell.strip()


def check_cell(cell: str, where: str) -> None:
    """Raise ``CohortError`` for a path of Windows on a system that has no drives."""
    bare = cell.strip().strip(UNSEEN).strip("\"'")
    if os.name != "nt" and _DRIVE.match(bare):
        raise CohortError(
            f"{where}: {bare} is a path of Windows, and this system has no drives; write it relative to the table's "
            "folder, with / between folders."
        )


def _meant(cell: str) -> Iterator[str]:
    bare = cell.strip().strip(UNSEEN).strip()
    yield cell
    yield cell.strip()
    yield bare
    yield bare.strip("\"'")
    if os.name != "nt":
        yield bare.strip("\"'").replace("\\", "/")


def _exists(path: Path) -> bool:
    try:
        return on_disk(path) is not None
    except OSError:
        return False
