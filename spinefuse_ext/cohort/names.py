"""Folder names for cases: whatever a table calls them, nothing leaves the output folder and no two meet."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

#: What is left out of folder names: all but letters and digits of any script, and these signs inside a name.
_UNSAFE = re.compile(r"[^\w.\- ]|^[.\- ]|[. ]$")
#: Names that Windows keeps for devices.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST_BYTES = 100


def folder_names(cases: Sequence[str]) -> dict[str, str]:
    """Case -> folder name. Plain names stay; others keep their plain signs and get a mark that tells them apart.

    Two names that differ in capitals only, or in how accents are coded, both get a mark: some disks take them for one.
    """
    forms = [_form(case) for case in cases]
    return {case: _folder(case, forms.count(form) > 1) for case, form in zip(cases, forms, strict=True)}


def _form(case: str) -> str:
    return unicodedata.normalize("NFC", case).casefold()


def _folder(case: str, shared: bool) -> str:
    plain = unicodedata.normalize("NFC", case)
    long = len(plain.encode()) > _LONGEST_BYTES
    if not (shared or long or _UNSAFE.search(plain) or _DEVICES.fullmatch(plain)):
        return plain
    mark = hashlib.sha256(case.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = _UNSAFE.sub("_", plain).encode()[: _LONGEST_BYTES - 9].decode(errors="ignore").strip("._- ") or "case"
    return f"{kept}-{mark}"
