"""Two images of one lumpy body, with other grey values and in another place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

SIZE, SPACING_MM = 26, 2.0

Map = Callable[[np.ndarray], np.ndarray]


def lumps(points_mm: np.ndarray) -> np.ndarray:
    """A sum of 40 soft balls in a field of 50 mm about the origin, ``(N, 3)`` -> ``(N,)``."""
    rng = np.random.default_rng(5)
    centres, heights = rng.uniform(-25, 25, (40, 3)), rng.uniform(-1, 1, 40)
    squares = ((points_mm[:, None] - centres) ** 2).sum(-1)
    return np.asarray((heights * np.exp(-squares / 50)).sum(1))


def picture(values_at: Map, offset_mm: float = 0.0) -> MetaTensor:
    """Sample a function of RAS mm on a grid whose voxels lie ``offset_mm`` beside those of the other image."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = -SPACING_MM * (SIZE - 1) / 2 + offset_mm
    points = np.indices((SIZE,) * 3).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    values = values_at(points).reshape((SIZE,) * 3).astype(np.float32)
    meta = {"filename_or_obj": "picture", "warnings": []}
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(affine), meta=meta)


@pytest.fixture
def fixed() -> MetaTensor:
    """The body as a CT would show it: bright where it is dense."""
    return picture(lambda points: 400 * lumps(points))


@pytest.fixture
def moved() -> Callable[[Map], MetaTensor]:
    """Make the MR of the body, grey values folded over, given the map from MR points back to CT points."""

    def make(back: Map) -> MetaTensor:
        return picture(lambda points: 100 + 80 * np.cos(2.2 * lumps(back(points)) + 0.7), offset_mm=0.6)

    return make
