"""The error at each landmark under the fit that never saw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.models import Estimator, Model, PointMap, obstacle

Points = NDArray[np.float64]


def distances_mm(mapping: PointMap, fixed: Points, moving: Points) -> Points:
    """``(N,)`` distances of mapped fixed points to moving points, RAS mm."""
    return np.asarray(np.linalg.norm(mapping(fixed) - moving, axis=1), dtype=np.float64)


def leave_one_out(
    model: Model, fixed: Points, moving: Points, estimate: Estimator
) -> tuple[Points, tuple[str | None, ...]]:
    """Return per point its error under the model fitted to all others, and why it could not be measured.

    ``(N,)`` mm with NaN where the others cannot carry the model, and N reasons, None where measured.
    """
    errors = np.full(len(fixed), np.nan)
    reasons: list[str | None] = []
    for row in range(len(fixed)):
        others = np.flatnonzero(np.arange(len(fixed)) != row)
        reason = obstacle(model, fixed[others], moving[others])
        if reason is None:
            errors[row] = distances_mm(estimate(others), fixed[[row]], moving[[row]])[0]
        reasons.append(None if reason is None else f"the other points {reason}")
    return errors, tuple(reasons)
