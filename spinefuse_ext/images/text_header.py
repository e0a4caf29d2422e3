"""The text headers of NRRD and MetaImage as fields, and the files that hold their voxels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spinefuse_ext.images.image_content import unreadable

_MOST = 2**22  # bytes of a text header; that of a segmentation is long
_LINE = 2**20


@dataclass(frozen=True)
class TextHeader:
    """Fields by lower-case name, lines that a LIST of data files ends with, and where attached data begins."""

    fields: Mapping[str, str]
    listed: tuple[str, ...]
    end: int

    def get(self, *names: str) -> str | None:
        """The first of the fields ``names`` that is there."""
        return next((self.fields[name] for name in names if name in self.fields), None)


def read_nrrd_header(path: Path) -> TextHeader:
    """Read up to the empty line; key/value pairs (``key:=value``) are under their key too."""
    fields: dict[str, str] = {}
    listed: list[str] = []
    with path.open("rb") as file:
        for line in _lines(file, path):
            if not line:
                break
            separator = ":=" if ":=" in line else ":"
            key, found, value = line.partition(separator)
            if _is_list(fields) and (not found or (separator == ":" and not re.fullmatch(r"[\w ]+", key))):
                listed.append(line)
            elif found and not line.startswith("#"):
                fields[key.strip().lower()] = value.strip()
        return TextHeader(fields, tuple(listed), file.tell())


def read_meta_header(path: Path) -> TextHeader:
    """Read up to ElementDataFile, which comes last; after LIST the rest are names of files."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in _lines(file, path):
            key, found, value = line.partition("=")
            if found:
                fields[key.strip().lower()] = value.strip()
            if found and key.strip().lower() == "elementdatafile":
                break
        end = file.tell()
        is_list = fields.get("elementdatafile", "").upper().startswith("LIST")
        listed = tuple(line for line in _lines(file, path) if line) if is_list else ()
        return TextHeader(fields, listed, end)


def data_files(path: Path, names: list[str]) -> list[Path]:
    """Return the files, which a detached header names relative to itself.

    Raises:
        ImageReadError: One is missing; the sentence names it.
    """
    files = [path.parent / name for name in names]
    for file in files:
        if not file.is_file():
            cure = "put it beside the header, or save the image as one file"
            raise unreadable(path, f"its data file {file.name} is missing", cure)
    return files


def numbered(pattern: str, first: int, last: int, step: int) -> list[str]:
    """Names out of a pattern such as ``slice%03d.raw``, which must hold one whole number and nothing else."""
    if not re.fullmatch(r"[^%]*%0?\d*d[^%]*", pattern) or step == 0 or abs(last - first) // abs(step) > _LINE:
        return [pattern]
    return [pattern % number for number in range(first, last + (1 if step > 0 else -1), step)]


def _lines(file: object, path: Path) -> Iterator[str]:
    """Yield the lines of a text header without their ends; stop at the end of the file."""
    used = 0
    while line := file.readline(_LINE):  # type: ignore[attr-defined]
        used += len(line)
        if used > _MOST:
            raise unreadable(path, "its text header does not end")
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def _is_list(fields: Mapping[str, str]) -> bool:
    return (fields.get("data file") or fields.get("datafile") or "").upper().startswith("LIST")
