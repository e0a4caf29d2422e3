"""Landmarks that had no part in a registration, as the proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.leave_one_out import distances_mm
from spinefuse_ext.registration.models import PointMap
from spinefuse_ext.registration.name_matching import match_landmarks
from spinefuse_ext.validation import LandmarkError


@dataclass(frozen=True)
class HeldOut:
    """The distance ``(N,)`` at each of N named points, mm, under a map that never saw them (TRE)."""

    names: tuple[str, ...]
    errors_mm: NDArray[np.float64]

    def sentence(self) -> str:
        """The figures in one line."""
        worst = int(self.errors_mm.argmax())
        return (
            f"Held-out landmarks: TRE {np.median(self.errors_mm):.2f} mm (median of {len(self.names)}), mean "
            f"{self.errors_mm.mean():.2f} mm, worst {self.names[worst]} {self.errors_mm[worst]:.2f} mm"
        )

    def to_dict(self) -> dict[str, Any]:
        """Every number for JSON."""
        return {
            "median_mm": float(np.median(self.errors_mm)),
            "mean_mm": float(self.errors_mm.mean()),
            "points_mm": dict(zip(self.names, self.errors_mm.tolist(), strict=True)),
        }


def held_out(mapping: PointMap, fixed: Landmarks, moving: Landmarks) -> HeldOut:
    """Measure a map at the points of both lists that have one name.

    Raises:
        LandmarkError: No name is in both lists.
    """
    matched = match_landmarks(fixed, moving)
    if not matched.fixed.names:
        raise LandmarkError("The landmark lists of CT and MR have no name in common; name the points alike in both.")
    errors = distances_mm(mapping, matched.fixed.points_mm, matched.moving.points_mm)
    return HeldOut(matched.fixed.names, errors)
