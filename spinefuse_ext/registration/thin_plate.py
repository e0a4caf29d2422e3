"""The thin-plate spline through all landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

Points = NDArray[np.float64]


class ThinPlateMap:
    """``(N, 3)`` RAS mm in fixed (CT) space -> ``(N, 3)`` RAS mm in moving (MR) space, exact at the landmarks.

    An affine map plus the least bending that meets every landmark (Bookstein, PAMI 1989). In three dimensions the
    spline of least bending energy has the kernel r, as 3D Slicer's and VTK's "thin plate R" has; r^2 log r belongs to
    the plane. Beyond the landmarks it extrapolates and can go far off.
    """

    def __init__(self, fixed: Points, moving: Points) -> None:
        self._spline = RBFInterpolator(fixed, moving, kernel="linear", degree=1)

    def __call__(self, points_mm: Points) -> Points:
        return np.asarray(self._spline(points_mm), dtype=np.float64)
