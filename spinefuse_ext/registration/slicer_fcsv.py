"""3D Slicer's ``.fcsv`` point lists: the label-first files of Slicer 3 and the markups files of Slicer 4 and 5."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import RAS_LPS, Entry, Landmarks, landmarks_from_entries
from spinefuse_ext.validation import LandmarkError

_VERSION = "Markups fiducial file version"
_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID")
#: What Slicer 3 writes under a first line "# Fiducial List file".
_COLUMNS_SLICER_3 = ("label", "x", "y", "z", "sel", "vis")
_NEEDED = {"label", "x", "y", "z"}
#: Slicer 5 appends the position status and the number of measurements to each row, but not to the header.
_UNNAMED = ("positionStatus", "measurements")
_DEFINED = "2"
_TO_RAS = {"0": np.ones(3), "RAS": np.ones(3), "1": RAS_LPS, "LPS": RAS_LPS}
_SAVE_AGAIN = "save the point list again from 3D Slicer 4 or newer"


def parse_fcsv(text: str, path: Path) -> Landmarks:
    """Read the text of an ``.fcsv`` file; points whose position status is not "defined" are left out.

    Without a ``CoordinateSystem`` line the points are RAS, as in Slicer 3; without a ``columns`` line the columns are
    those of the Slicer version in the header.
    """
    header: dict[str, str] = {}
    entries: list[Entry] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.startswith("#"):
            key, _, value = line.lstrip("# ").partition("=")
            header[key.strip()] = value.strip()
        elif line.strip():
            entry = _row(line, _columns(header, path), f"{path}, line {number}")
            entries += [entry._replace(place=f"line {number}")] if entry else []
    return landmarks_from_entries(entries, _to_ras(header, path), path)


def format_fcsv(landmarks: Landmarks) -> str:
    """Return the text of a Slicer 4.11 ``.fcsv`` file (also read by Slicer 5), coordinates in LPS."""
    text = io.StringIO()
    text.write("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n")
    text.write(f"# columns = {','.join(_COLUMNS)}\n")
    rows = csv.writer(text, lineterminator="\n")
    for number, (name, point) in enumerate(zip(landmarks.names, landmarks.points_mm * RAS_LPS, strict=True), start=1):
        rows.writerow([number, *map(repr, point.tolist()), 0, 0, 0, 1, 1, 1, 0, name, "", ""])
    return text.getvalue()


def _columns(header: dict[str, str], path: Path) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in header.get("columns", ",".join(_usual(header))).split(","))
    if not columns[0]:
        raise LandmarkError(f"{path} is no Slicer point list: no '# columns =' line before the points; {_SAVE_AGAIN}.")
    missing = sorted(_NEEDED - set(columns))
    if missing:
        raise LandmarkError(f"{path} names no column {', '.join(missing)}, it has {', '.join(columns)}; {_SAVE_AGAIN}.")
    version = header.get(_VERSION)
    if version is not None and not re.match(r"([4-9]|\d{2,})(\.|$)", version):
        raise LandmarkError(f"{path} claims markups version {version}, but these begin with 4.0; {_SAVE_AGAIN}.")
    return columns


def _usual(header: dict[str, str]) -> tuple[str, ...]:
    """Return the columns of the Slicer version that the header names, for a file without a line of them."""
    if _VERSION in header:
        return _COLUMNS
    return _COLUMNS_SLICER_3 if any(key.startswith("Fiducial List file") for key in header) else ()


def _row(line: str, columns: tuple[str, ...], where: str) -> Entry | None:
    """Read one row; None for a point that was never placed."""
    values = next(csv.reader([line]))
    named = columns + _UNNAMED
    if not len(columns) <= len(values) <= len(named):
        raise LandmarkError(
            f"{where}: expected {len(columns)} columns, got {len(values)}; quote names with commas or {_SAVE_AGAIN}."
        )
    row = dict(zip(named, values, strict=False))
    if row.get("positionStatus", _DEFINED).strip() != _DEFINED:
        return None
    return Entry(where, row["label"], [row[axis].strip() for axis in "xyz"])


def _to_ras(header: dict[str, str], path: Path) -> NDArray[np.float64]:
    system = header.get("CoordinateSystem", "RAS").upper()
    if system not in _TO_RAS:
        raise LandmarkError(f"{path} uses the coordinate system {system}, expected RAS (0) or LPS (1); {_SAVE_AGAIN}.")
    return _TO_RAS[system]
