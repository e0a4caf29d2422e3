"""3D Slicer's ``.mrk.json`` markups files, schema 1.0.x (point lists of Slicer 4.11 and newer)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import RAS_LPS, Entry, Landmarks, landmarks_from_entries
from spinefuse_ext.validation import LandmarkError

logger = logging.getLogger(__name__)

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_TO_RAS = {"RAS": np.ones(3), "0": np.ones(3), "LPS": RAS_LPS, "1": RAS_LPS}
#: Columns are the point's own axes in LPS; Slicer writes the RAS axes for points that have none of their own.
_ORIENTATION = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]


def parse_json(text: str, path: Path) -> Landmarks:
    """Read the point lists of a ``.mrk.json`` file as one, without points whose ``positionStatus`` is not "defined".

    Without ``coordinateSystem`` the points of a list are LPS, as the schema says. Lines, curves and planes that stand
    beside a point list are passed over, and that is logged.
    """
    lists = _point_lists(text, path)
    entries: list[Entry] = []
    factors: list[NDArray[np.float64]] = []
    for number, markup in enumerate(lists, start=1):
        to_ras = _to_ras(markup, path)
        prefix = f"list {number}, " if len(lists) > 1 else ""
        for place, point in enumerate(_control_points(markup, path), start=1):
            entry = _entry(point, f"{prefix}control point {place}", path)
            entries += [entry] if entry else []
            factors += [to_ras] if entry else []
    return landmarks_from_entries(entries, np.array(factors), path)


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


def _point_lists(text: str, path: Path) -> list[dict[str, Any]]:
    """Return the point lists of the file, at least one."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LandmarkError(f"{path} is no JSON file ({error}); save the point list again from Slicer.") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or not markups or not all(isinstance(markup, dict) for markup in markups):
        raise LandmarkError(f"{path} must hold a point list under 'markups'; save the point list again from Slicer.")
    lists = [markup for markup in markups if markup.get("type", "Fiducial") == "Fiducial"]
    others = ", ".join(str(markup["type"]) for markup in markups if markup not in lists)
    if not lists:
        raise LandmarkError(
            f"{path} holds a markup of type {others}, expected Fiducial (a point list); save that instead."
        )
    if others:
        logger.warning("%s: only the point list is read, the markups of type %s are not", path, others)
    return lists


def _to_ras(markup: dict[str, Any], path: Path) -> NDArray[np.float64]:
    system = str(markup.get("coordinateSystem", "LPS")).upper()
    if system not in _TO_RAS:
        raise LandmarkError(f"{path} uses the coordinate system {system}, expected LPS or RAS; save it again.")
    units = markup.get("coordinateUnits") or "mm"  # the schema's default; some writers leave it empty
    if units not in ("mm", ["mm"], ["mm"] * 3):
        raise LandmarkError(f"{path} gives coordinates in {units}, expected mm; set the length unit to mm in Slicer.")
    return _TO_RAS[system]


def _control_points(markup: dict[str, Any], path: Path) -> list[Any]:
    points = markup.get("controlPoints")
    if not isinstance(points, list):
        raise LandmarkError(f"{path} has no list 'controlPoints'; save the point list again from Slicer.")
    return points


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
