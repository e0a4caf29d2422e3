from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from monai.data import MetaTensor

from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.shared_information import SharedInformation

BONE = np.random.default_rng(3).uniform(-12, 12, (400, 3))


def moved_by(x_mm: float) -> LinearMap:
    matrix = np.eye(4)
    matrix[0, 3] = x_mm
    return LinearMap(matrix)


def test_images_share_most_at_the_true_map(fixed: MetaTensor, moved: Callable[..., MetaTensor]) -> None:
    shared = SharedInformation(fixed, moved(lambda points: points), BONE)
    right, wrong = (shared.values(moved_by(x_mm)) for x_mm in (0.0, 8.0))
    gain = shared.compare(right, wrong)
    assert gain is not None
    assert gain.one > 1.3 * gain.rival
    assert gain.errors > 3
    back = shared.compare(wrong, right)
    assert back is not None
    assert back.errors == pytest.approx(-gain.errors)


def test_maps_that_leave_the_mr_cannot_be_compared(fixed: MetaTensor, moved: Callable[..., MetaTensor]) -> None:
    shared = SharedInformation(fixed, moved(lambda points: points), BONE)
    assert shared.compare(shared.values(moved_by(0.0)), shared.values(moved_by(200.0))) is None
