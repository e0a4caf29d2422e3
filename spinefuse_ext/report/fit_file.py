"""The figures of a landmark fit as ``registration.json`` keeps them, checked before anything shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinefuse_ext.validation import SpinefuseError

_NAN = float("nan")


@dataclass(frozen=True)
class FitFigures:
    """Errors in mm over all points and per point (fitted, leave-one-out); NaN where not measured.

    ``mr`` and ``ct_landmarks`` are the files the fit was made from, as it named them, or None. ``warnings`` are
    sentences about landmarks, images and labels that look wrong. ``bones_mm`` are, of a registration by bones, the
    uncertainty of each, what remains between its surfaces, and how far its neighbours would put it elsewhere.
    """

    model: str
    fre_rms_mm: float
    tre_mean_mm: float
    worst: str | None
    points_mm: dict[str, tuple[float, float]]
    mr: str | None
    ct_landmarks: str | None
    warnings: tuple[str, ...] = ()
    bones_mm: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def tre_largest_mm(self) -> float:
        return max((tre for _, tre in self.points_mm.values() if tre == tre), default=_NAN)


def read_fit(file: Path) -> FitFigures:
    """Read what ``spinefuse_ext.registration.register_case`` wrote; raise ``SpinefuseError`` naming what is amiss."""
    content = read_json(file)
    points = content.get("points") or {}
    if not isinstance(points, Mapping) or not all(isinstance(errors, Mapping) for errors in points.values()):
        raise SpinefuseError(f"{file} should map point names to fre_mm and tre_mm in points, got {points!r}.")
    bones = content.get("bones") or {}
    if not isinstance(bones, Mapping) or not all(isinstance(each, Mapping) for each in bones.values()):
        raise SpinefuseError(f"{file} should map vertebrae to their numbers in bones, got {bones!r}; register again.")
    warnings = content.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(warning, str) for warning in warnings):
        raise SpinefuseError(f"{file} should hold a list of sentences in warnings, got {warnings!r}; register again.")
    return FitFigures(
        model=str(content.get("model", "")),
        fre_rms_mm=_length(content, "fre_rms_mm", file),
        tre_mean_mm=_length(content, "tre_mean_mm", file),
        worst=content.get("worst"),
        points_mm={
            name: (_length(errors, "fre_mm", file), _length(errors, "tre_mm", file)) for name, errors in points.items()
        },
        mr=content.get("mr"),
        ct_landmarks=content.get("ct_landmarks"),
        warnings=tuple(warnings),
        bones_mm={
            name: (
                _length(each, "uncertainty_mm", file),
                _length(each, "surface_mm", file),
                _length(each, "from_neighbours_mm", file),
            )
            for name, each in bones.items()
        },
    )


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object of a file; raise ``SpinefuseError`` when it is not one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpinefuseError(f"{file} should hold JSON, but {error}; write it again.") from error
    if not isinstance(content, dict):
        raise SpinefuseError(f"{file} should hold a JSON object, got a {type(content).__name__}; write it again.")
    return content


def _length(content: Mapping[str, Any], key: str, file: Path) -> float:
    value = content.get(key)
    if value is None:
        return _NAN
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpinefuseError(f"{file} should hold a number of mm in {key}, got {value!r}; register again.")
    return float(value)
