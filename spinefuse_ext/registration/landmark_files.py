"""Landmark files: which format a path stands for, read and written whole."""

from __future__ import annotations

from pathlib import Path

from spinefuse_ext.files import atomic_write, check_output_file
from spinefuse_ext.registration.landmark_csv import format_csv, parse_csv
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.slicer_fcsv import format_fcsv, parse_fcsv
from spinefuse_ext.registration.slicer_json import format_json, parse_json
from spinefuse_ext.validation import LandmarkError, check_exists

_PARSE = {".json": parse_json, ".fcsv": parse_fcsv, ".csv": parse_csv}
_FORMAT = {".json": format_json, ".fcsv": format_fcsv, ".csv": format_csv}


def read_landmarks(path: str | Path, coordinate_system: str | None = None) -> Landmarks:
    """Read the points of a 3D Slicer ``.mrk.json`` or ``.fcsv`` file or of a ``.csv`` table; RAS mm, in file order.

    The name of a point is its label. Points that were never placed (position status other than "defined") are
    left out.

    Args:
        path: The file.
        coordinate_system: "RAS" or "LPS", for a ``.csv`` table that does not say it (then RAS is assumed). The other
            formats state their own.

    Raises:
        MissingPathError: The file does not exist.
        LandmarkError: The file is of another kind, malformed, or repeats a name; the message names the line.
        ValueError: A coordinate system is given for a format that states its own.
    """
    path = check_exists(path, "Landmark file")
    suffix = _suffix(path)
    if coordinate_system and suffix != ".csv":
        raise ValueError(f"Expected a coordinate system only with a .csv table, got {coordinate_system} for {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        cure = "the table as CSV UTF-8" if suffix == ".csv" else "the point list again from Slicer"
        raise LandmarkError(f"{path} is no text file in UTF-8; save {cure}.") from error
    return parse_csv(text, path, coordinate_system) if suffix == ".csv" else _PARSE[suffix](text, path)


def write_landmarks(landmarks: Landmarks, path: str | Path) -> None:
    """Write ``.mrk.json`` (schema 1.0.3) or ``.fcsv`` (4.11), LPS mm, as 3D Slicer saves them, or ``.csv``, RAS mm."""
    write = _FORMAT[_suffix(Path(path))]
    with atomic_write(path) as temporary:
        temporary.write_text(write(landmarks), encoding="utf-8")


def check_landmark_target(path: str | Path) -> Path:
    """Return ``path``; raise an error unless landmarks can be written there, by its name and by the disk."""
    _suffix(Path(path))
    return check_output_file(path)


def _suffix(path: Path) -> str:
    if path.suffix.lower() == ".acsv":
        raise LandmarkError(
            f"{path} is an annotation of Slicer 4.0 to 4.2, which is one point or ruler; load it into Slicer and save "
            "the points as one list (.mrk.json)."
        )
    if path.suffix.lower() not in _PARSE:
        raise LandmarkError(f"{path} is no landmark file: expected a name that ends in .mrk.json, .fcsv or .csv.")
    return path.suffix.lower()
