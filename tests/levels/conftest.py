"""A spine of boxes, on which every number can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Classes = NDArray[np.uint8]
AFFINE = np.array([[2.0, 0, 0, -30], [0, 2.0, 0, -60], [0, 0, 2.0, -100], [0, 0, 0, 1]])


@pytest.fixture
def affine() -> NDArray[np.float64]:
    """To RAS mm: 2 mm voxels."""
    return AFFINE.copy()


@pytest.fixture
def boxes() -> Callable[..., Classes]:
    """Make a spine ``(30, 60, n)`` of boxes: bodies 24 mm high and discs 8 mm between, from the top of the volume down.

    Each body has two pedicles, an arch and a process 10 mm lower; the canal runs between. ``sacrum`` adds one below the
    last disc; ``without`` leaves discs out by their place from the head, which are then a gap.
    """

    def make(count: int, *, sacrum: bool = True, without: tuple[int, ...] = (), first: int = 4) -> Classes:
        pitch, tall = 16, 12  # voxels
        size = first + count * pitch + 24
        volume = np.zeros((30, 60, size), np.uint8)
        volume[12:18, 20:28] = 3
        for place in range(count):
            top = size - first - place * pitch
            volume[5:25, 32:48, top - tall : top] = 1
            volume[7:10, 18:32, top - 9 : top - 3] = 1
            volume[20:23, 18:32, top - 9 : top - 3] = 1
            volume[7:23, 16:19, top - 9 : top - 3] = 1
            volume[13:17, 4:17, top - tall - 2 : top - 5] = 1
            if place not in without:
                volume[6:24, 33:47, top - pitch : top - tall] = 2
        if sacrum:
            volume[6:24, 30:46, size - first - count * pitch - 14 : size - first - count * pitch] = 4
        return volume

    return make
