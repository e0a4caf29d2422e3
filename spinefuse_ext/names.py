"""Names that look equal are equal: one normal form to compare them in, and files found in either form on a disk."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

#: Signs that nobody sees: byte order mark, zero width space and joiner of words, marks of the writing direction.
UNSEEN = "\ufeff\u200b\u2060\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
_NOTHING = dict.fromkeys(map(ord, UNSEEN))


def normal_form(name: str) -> str:
    """Return a name of a person, point or case as it is compared: accents as one sign (NFC), single blanks.

    macOS writes an accent as a sign of its own (NFD), and spreadsheets bring double blanks and signs that nobody sees.
    Paths are not names: they stay as they are.
    """
    return " ".join(unicodedata.normalize("NFC", name).translate(_NOTHING).split())


def listed(things: Iterable[object], most: int = 8) -> str:
    """Return things in a row for a sentence: the first ``most`` and how many more there are, "none" without any."""
    told = [str(thing) for thing in things]
    shown = ", ".join(told[:most]) or "none"
    return shown if len(told) <= most else f"{shown} and {len(told) - most} more"


def on_disk(path: str | Path) -> Path | None:
    """Return ``path`` as the disk spells it: as it is, or with its accents coded in the other way; None if absent.

    Raises:
        OSError: The path cannot be looked at, because it is too long or somebody else's.
    """
    path = Path(path)
    if path.exists():
        return path
    if str(path).isascii():
        return None
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        place = found / part if os.path.lexists(found / part) else _alike(found, part)
        if place is None:
            return None
        found = place
    return found if found.exists() else None


def _alike(folder: Path, name: str) -> Path | None:
    """The one entry of a folder whose name is the same but for how its accents are coded."""
    wanted = unicodedata.normalize("NFC", name)
    try:
        found = [entry for entry in folder.iterdir() if unicodedata.normalize("NFC", entry.name) == wanted]
    except OSError:
        return None
    return found[0] if len(found) == 1 else None
