"""3D Slicer's ``.mrk.json`` markups files, schema 1.0.x (point lists of Slicer 4.11 and newer)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spinefuse_ext.registration.landmarks import RAS_LPS, Entry, Landmarks, landmarks_from_entries
from spinefuse_ext.validation import LandmarkError

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_TO_RAS = {"RAS": np.ones(3), "0": np.ones(3), "LPS": RAS_LPS, "1": RAS_LPS}
#: Columns are the point's own axes in LPS; Slicer writes the RAS axes for points that have none of their own.
_ORIENTATION = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]


def parse_json(text: str, path: Path) -> Landmarks:
    """Read the text of a ``.mrk.json`` file; points whose ``positionStatus`` is not "defined" are left out.

    Without ``coordinateSystem`` the points are LPS, as the schema says.
    """
    markup = _point_list(text, path)
    system = str(markup.get("coordinateSystem", "LPS")).upper()
    if system not in _TO_RAS:
        raise LandmarkError(f"{path} uses the coordinate system {system}, expected LPS or RAS; save it again.")
    units = markup.get("coordinateUnits", "mm")
    if units not in ("mm", ["mm"]):
        raise LandmarkError(f"{path} gives coordinates in {units}, expected mm; set the length unit to mm in Slicer.")
    points = markup.get("controlPoints")
    if not isinstance(points, list):
        raise LandmarkError(f"{path} has no list 'controlPoints'; save the point list again from Slicer.")
    entries = [_entry(point, f"control point {number}", path) for number, point in enumerate(points, start=1)]
    return landmarks_from_entries([entry for entry in entries if entry], _TO_RAS[system], path)


def format_json(landmarks: Landmarks) -> str:
    """Return the text of a ``.mrk.json`` file, schema 1.0.3, coordinates in LPS."""
    points_mm = landmarks.points_mm * RAS_LPS
    points = [
        {
            "id": str(number),
            "label": name,
            "description": "",
            "associatedNodeID": "",
            "position": point.tolist(),
            "orientation": _ORIENTATION,
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, (name, point) in enumerate(zip(landmarks.names, points_mm, strict=True), start=1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=4, ensure_ascii=False) + "\n"


def _point_list(text: str, path: Path) -> dict[str, Any]:
    """Return the one point list of the file."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LandmarkError(f"{path} is no JSON file ({error}); save the point list again from Slicer.") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or len(markups) != 1 or not isinstance(markups[0], dict):
        raise LandmarkError(f"{path} must hold exactly one list under 'markups'; save one point list per file.")
    kind = markups[0].get("type", "Fiducial")
    if kind != "Fiducial":
        raise LandmarkError(
            f"{path} holds a markup of type {kind}, expected Fiducial (a point list); save that instead."
        )
    return markups[0]


def _entry(point: Any, place: str, path: Path) -> Entry | None:
    """Read one control point; None for a point that was never placed."""
    if not isinstance(point, dict):
        raise LandmarkError(f"{path}, {place}: expected an object with label and position, got {point!r}.")
    if point.get("positionStatus", "defined") != "defined":
        return None
    position = point.get("position")
    if not isinstance(position, list):
        raise LandmarkError(f"{path}, {place}: expected a position of three numbers, got {position!r}; place it again.")
    return Entry(place, str(point.get("label", "")), position)
