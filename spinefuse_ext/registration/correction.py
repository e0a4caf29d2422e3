"""A small rigid motion put before a fitted map: how a refinement changes a registration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.models import PointMap

Points = NDArray[np.float64]


@dataclass(frozen=True)
class CorrectedMap:
    """``(N, 3)`` RAS mm in fixed (CT) space -> moving (MR) space: first ``correction`` in CT space, then ``map``."""

    map: PointMap
    correction: LinearMap

    def __call__(self, points_mm: Points) -> Points:
        return self.map(self.correction(points_mm))


def corrected(mapping: PointMap, correction: LinearMap) -> PointMap:
    """Return ``mapping`` after ``correction``, as one matrix where the map is linear."""
    if isinstance(mapping, LinearMap):
        return LinearMap(mapping.matrix @ correction.matrix)
    return CorrectedMap(mapping, correction)


def turn_deg(correction: LinearMap) -> float:
    """Return the angle of the rigid correction about its axis, 0 to 180 degrees."""
    return float(np.rad2deg(Rotation.from_matrix(correction.matrix[:3, :3]).magnitude()))
