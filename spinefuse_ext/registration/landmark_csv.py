"""Points of a spreadsheet: a ``.csv`` table with a header, comma, semicolon or tab between the columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spinefuse_ext.registration.landmarks import RAS_LPS, Entry, Landmarks, landmarks_from_entries
from spinefuse_ext.validation import LandmarkError

_TO_RAS = {"RAS": np.ones(3), "LPS": RAS_LPS}
_NAMES = ("name", "label", "landmark", "point")
#: Headers of the three coordinates and the system they state; Slicer's own table export uses r,a,s or l,p,s.
_AXES = {("x", "y", "z"): None, ("r", "a", "s"): "RAS", ("l", "p", "s"): "LPS"}
_DEFINED = "defined"  # column of Slicer's table export; 0 for a point that was never placed
_UNIT = re.compile(r"[\s_]*[(\[]?\s*(mm|ras|lps|cm|m|um|µm|inch|in)\s*[)\]]?$")
_SYSTEM = re.compile(r"coordinate\s*system\s*[=:]?\s*(\w+)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


def parse_csv(text: str, path: Path, system: str | None = None) -> Landmarks:
    """Read a table with a header row of a name (``name``, ``label``) and ``x``, ``y``, ``z`` in mm.

    The points are RAS unless a comment (``# CoordinateSystem = LPS``), the header (``x_lps``, or ``l,p,s``) or
    ``system`` says LPS; statements that differ are refused. In a table with semicolons or tabs, 12,5 is read as 12.5.
    """
    comments, rows, separator = _rows(text, path)
    (place, header), points = rows[0], rows[1:]
    columns, stated = _columns(header, f"{path}, {place}")
    said = _SYSTEM.search(comments)
    found = {name.upper() for name in (*stated, said.group(1) if said else None, system) if name}
    if len(found) > 1 or found - set(_TO_RAS):
        raise LandmarkError(
            f"{path}: expected one coordinate system, RAS or LPS, got {', '.join(sorted(found))}; correct the header."
        )
    _check_lengths(points, header, path)
    entries = [_entry(row, columns, place, path, separator) for place, row in points]
    return landmarks_from_entries([entry for entry in entries if entry], _TO_RAS[(found or {"RAS"}).pop()], path)


def format_csv(landmarks: Landmarks) -> str:
    """Return the text of a table ``name,x,y,z``, RAS mm, with a comment that says so."""
    text = io.StringIO()
    text.write("# CoordinateSystem = RAS\n")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["name", "x", "y", "z"])
    for name, point in zip(landmarks.names, landmarks.points_mm, strict=True):
        rows.writerow([f" {name}" if name.startswith("#") else name, *map(repr, point.tolist())])
    return text.getvalue()


def _rows(text: str, path: Path) -> tuple[str, list[tuple[str, list[str]]], str]:
    """Return the comments, every row that is not empty with its line, and the separator."""
    lines = [line for line in enumerate(text.splitlines(), start=1) if line[1].strip(" \t;,")]
    comments = "\n".join(line for _, line in lines if line.startswith("#"))
    table = [(number, line) for number, line in lines if not re.match(r"#|sep=.$", line)]
    if not table:
        raise LandmarkError(f"{path} is empty; expected a header name,x,y,z and one point per row.")
    header = table[0][1]
    separator = next((sign for sign in ";\t" if sign in header), ",")
    rows = [(f"line {number}", next(csv.reader([line], delimiter=separator))) for number, line in table]
    return comments, _without_empty_columns(rows), separator


def _without_empty_columns(rows: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Take away columns at the right that have neither a title nor a value, as spreadsheets save them."""
    width = max(max((at for at, cell in enumerate(row, start=1) if cell.strip()), default=0) for _, row in rows)
    return [(place, row[:width]) for place, row in rows]


def _columns(header: Sequence[str], where: str) -> tuple[dict[str, int], set[str]]:
    """Return where name, x, y, z (and the placed mark) stand, and the coordinate systems that the header states."""
    plain, notes = [], set()
    for title in (title.strip().lower() for title in header):
        unit = _UNIT.search(title)
        has_unit = unit is not None and unit.start() > 0
        plain.append(title[: unit.start()] if unit and has_unit else title)
        notes |= {unit.group(1)} if unit and has_unit else set()
    name = next((plain.index(name) for name in _NAMES if name in plain), None)
    axes = next((axes for axes in _AXES if set(axes) <= set(plain)), None)
    if name is None or axes is None or len(set(plain)) < len(plain):
        raise LandmarkError(
            f"{where}: expected a header with the columns name, x, y and z, got {', '.join(header)}; add this row."
        )
    lengths = notes - {"mm", "ras", "lps"}
    if lengths:
        raise LandmarkError(f"{where}: expected coordinates in mm, got {', '.join(sorted(lengths))}; convert them.")
    columns = {"name": name, **{axis: plain.index(letter) for axis, letter in zip("xyz", axes, strict=True)}}
    if _DEFINED in plain:
        columns[_DEFINED] = plain.index(_DEFINED)
    return columns, {system for system in (_AXES[axes], *(notes & {"ras", "lps"})) if system}


def _check_lengths(points: list[tuple[str, list[str]]], header: list[str], path: Path) -> None:
    for place, row in points:
        if len(row) != len(header):
            raise LandmarkError(
                f"{path}, {place}: expected {len(header)} columns, got {len(row)}; quote names with commas and "
                "write decimals with a point, or save the table with semicolons."
            )


def _entry(row: list[str], columns: dict[str, int], place: str, path: Path, separator: str) -> Entry | None:
    """Read one row; None for a point that was never placed."""
    if _DEFINED in columns and row[columns[_DEFINED]].strip() in ("0", "false", "False"):
        return None
    position = [row[columns[axis]].strip() for axis in "xyz"]
    commas = [value for value in position if "," in value]
    if commas and (
        separator == "," or not all(map(_DECIMAL_COMMA.fullmatch, commas)) or any("." in v for v in position)
    ):
        raise LandmarkError(
            f"{path}, {place}: expected one sign for decimals and none for thousands, got {' '.join(position)}; "
            "write the coordinates with a decimal point."
        )
    return Entry(place, row[columns["name"]], [value.replace(",", ".") for value in position])
