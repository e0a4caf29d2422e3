"""CT values stored without their intercept, 1024 above Hounsfield units: how they are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: What such values are too high by.
SHIFT_HU = 1024.0
_NOISE = 200.0  # how far stored air, which lies about 0, may reach below
_AIR_MODE = 60.0  # about 0, where most of it lies
_AROUND = 100.0
_MANY = 0.05  # of the voxels


def is_shifted(values: NDArray[np.float32]) -> bool:
    """Whether ``values``, any shape, are surely a CT stored 1024 too high.

    No value is below -200, a twentieth of them is air about 0, another one soft tissue at 1024 +- 100, and less than
    half as many lie between, at 512 +- 100.
    """
    if not values.size or values.min() < -_NOISE:
        return False
    air, between, tissue = (
        float((np.abs(values - centre) <= width).mean())
        for centre, width in ((0, _AIR_MODE), (SHIFT_HU / 2, _AROUND), (SHIFT_HU, _AROUND))
    )
    return air >= _MANY and tissue >= _MANY and tissue > 2 * between
