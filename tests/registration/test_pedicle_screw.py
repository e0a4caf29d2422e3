from __future__ import annotations

import numpy as np
import pytest

from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.pedicle_screw import deviation, plan_screws, screw_through


def test_a_screw_runs_forward_and_to_the_midline() -> None:
    right, left = (screw_through(np.array([side * 15.0, -18.0, 5.0]), side, np.eye(3)) for side in (1, -1))
    assert right.direction[1] == pytest.approx(np.cos(np.deg2rad(12)))
    assert right.direction[0] == pytest.approx(-np.sin(np.deg2rad(12)))
    assert left.direction[0] == pytest.approx(np.sin(np.deg2rad(12)))
    assert np.linalg.norm(right.tip_mm - right.entry_mm) == pytest.approx(45.0)


def test_a_shift_moves_entry_and_tip_alike_and_turns_nothing() -> None:
    screw = screw_through(np.zeros(3), 1, np.eye(3))
    shift = np.eye(4)
    shift[:3, 3] = (3.0, 0.0, 4.0)
    away = deviation(screw.moved(LinearMap(shift)), screw)
    assert away.entry_mm == pytest.approx(5.0)
    assert away.tip_mm == pytest.approx(5.0)
    assert away.turn_deg == pytest.approx(0.0, abs=1e-5)


def test_pedicles_are_the_narrow_bone_between_body_and_arch() -> None:
    grid = np.stack(np.meshgrid(np.arange(-24, 25), np.arange(-40, 18), np.arange(-12, 13), indexing="ij"), -1)
    x, y, z = grid.reshape(-1, 3).T.astype(float)
    body = (np.hypot(x / 23, y / 17) < 1) & (np.abs(z) < 12)
    rods = (np.hypot(np.abs(x) - 15, z - 5) < 4) & (y < 0) & (y > -34)
    arch = (np.abs(x) < 22) & (y < -30) & (np.abs(z) < 9)
    voxels = np.stack([x, y, z], 1)[body | rods | arch]
    planned = plan_screws(voxels, np.zeros(3), np.eye(3))
    assert len(planned) == 2
    for side, screw in zip((1, -1), planned, strict=True):
        middle = screw.entry_mm + 15.0 * screw.direction
        np.testing.assert_allclose(middle[[0, 2]], [side * 15.0, 5.0], atol=0.6)
        assert -30 < middle[1] < -12


def test_a_body_alone_has_no_pedicles() -> None:
    assert plan_screws(np.random.default_rng(0).uniform(-7, 7, (500, 3)), np.zeros(3), np.eye(3)) == []
