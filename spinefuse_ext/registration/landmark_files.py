"""Landmark files: which format a path stands for, read and written whole."""

from __future__ import annotations

from pathlib import Path

from spinefuse_ext.files import whole_file
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.slicer_fcsv import format_fcsv, parse_fcsv
from spinefuse_ext.registration.slicer_json import format_json, parse_json
from spinefuse_ext.validation import LandmarkError, check_exists

_FORMATS = {".json": (parse_json, format_json), ".fcsv": (parse_fcsv, format_fcsv)}


def read_landmarks(path: str | Path) -> Landmarks:
    """Read the points of a 3D Slicer ``.mrk.json`` or ``.fcsv`` file; RAS mm, in the order of the file.

    The name of a point is its label. Points that were never placed (position status other than "defined") are
    left out.

    Raises:
        MissingPathError: The file does not exist.
        LandmarkError: The file is of another kind, malformed, or repeats a name; the message names the line.
    """
    path = check_exists(path, "Landmark file")
    parse, _ = _FORMATS[_suffix(path)]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise LandmarkError(f"{path} is no text file in UTF-8; save the point list again from Slicer.") from error
    return parse(text, path)


def write_landmarks(landmarks: Landmarks, path: str | Path) -> None:
    """Write ``landmarks`` as ``.mrk.json`` (schema 1.0.3) or ``.fcsv`` (4.11), LPS mm, as 3D Slicer saves them."""
    _, write = _FORMATS[_suffix(Path(path))]
    with whole_file(path) as temporary:
        temporary.write_text(write(landmarks), encoding="utf-8")


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in _FORMATS:
        raise LandmarkError(f"{path} is no landmark file: expected a name that ends in .mrk.json or .fcsv.")
    return path.suffix.lower()
