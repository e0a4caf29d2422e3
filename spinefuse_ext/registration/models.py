"""The registration models by name: what each needs, and how it is fitted to some of the landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from spinefuse_ext.enums import Model as Model
from spinefuse_ext.registration.linear import LinearMap, fit_affine, fit_rigid, fit_similarity
from spinefuse_ext.registration.per_vertebra import fit_per_vertebra
from spinefuse_ext.registration.thin_plate import ThinPlateMap
from spinefuse_ext.registration.vertebrae import Vertebrae

Points = NDArray[np.float64]
Rows = NDArray[np.int64]


class PointMap(Protocol):
    """``(N, 3)`` RAS mm in fixed (CT) space -> ``(N, 3)`` RAS mm in moving (MR) space."""

    def __call__(self, points_mm: Points, /) -> Points: ...


#: Fits the model to the landmarks of the given rows.
Estimator = Callable[[Rows], PointMap]

_LINEAR: dict[Model, Callable[[Points, Points], LinearMap]] = {
    Model.RIGID: fit_rigid,
    Model.SIMILARITY: fit_similarity,
    Model.AFFINE: fit_affine,
}
_SPATIAL = {Model.AFFINE, Model.THIN_PLATE}
#: Points closer to one line or plane than this part of their spread leave a turn or a scale open.
_FLAT = 1e-3


def estimator(model: Model, fixed: Points, moving: Points, vertebrae: Vertebrae | None = None) -> Estimator:
    """Return what fits ``model`` to any rows of the ``(N, 3)`` points; ``per_vertebra`` needs ``vertebrae``."""
    if model is Model.PER_VERTEBRA:
        if vertebrae is None:
            raise ValueError("Expected vertebrae for the model per_vertebra, got None.")
        return lambda rows: fit_per_vertebra(fixed, moving, vertebrae, rows)
    if model is Model.THIN_PLATE:
        return lambda rows: ThinPlateMap(fixed[rows], moving[rows])
    return lambda rows: _LINEAR[model](fixed[rows], moving[rows])


def fewest_points(model: Model) -> int:
    """3 points fix a rotation; 4 are needed where every direction may stretch by itself."""
    return 4 if model in _SPATIAL else 3


def obstacle(model: Model, *point_sets: Points) -> str | None:
    """Say why the points cannot carry the model ("lie on one line"), or None where they can."""
    needed = fewest_points(model)
    for points in point_sets:
        if len(points) < needed:
            return f"are fewer than {needed}"
        spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
        if spread[1] <= _FLAT * spread[0]:
            return "lie on one line"
        if model in _SPATIAL and spread[2] <= _FLAT * spread[0]:
            return "lie in one plane"
        if model is Model.THIN_PLATE and pdist(points).min() <= _FLAT:
            return "lie on each other"
    return None
