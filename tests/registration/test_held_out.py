from __future__ import annotations

import numpy as np
import pytest

from spinefuse_ext.registration.held_out import held_out
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.validation import LandmarkError


def test_the_error_is_taken_at_the_points_that_both_lists_name() -> None:
    ct = Landmarks(("a", "b", "only"), np.array([[0.0, 0, 0], [10, 0, 0], [5, 5, 5]]))
    mr = Landmarks(("b", "a"), np.array([[10.0, 3, 4], [0, 0, 1]]))
    found = held_out(LinearMap(np.eye(4)), ct, mr)
    assert dict(zip(found.names, found.errors_mm.tolist(), strict=True)) == {"a": 1.0, "b": 5.0}
    assert "TRE 3.00 mm (median of 2)" in found.sentence()
    assert "worst b 5.00 mm" in found.sentence()
    assert found.to_dict()["points_mm"] == {"a": 1.0, "b": 5.0}


def test_lists_without_a_common_name_prove_nothing() -> None:
    one, other = (Landmarks((name,), np.zeros((1, 3))) for name in ("a", "b"))
    with pytest.raises(LandmarkError):
        held_out(LinearMap(np.eye(4)), one, other)
