"""Named points in patient space, and the files 3D Slicer keeps them in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Landmarks:
    """Named points: ``points_mm`` is ``(N, 3)`` in RAS millimetres, ``names`` has N unique strings."""

    names: tuple[str, ...]
    points_mm: NDArray[np.float64]
