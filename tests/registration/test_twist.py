from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration.twist import log_motions, move_by

turns = st.tuples(*[st.floats(-1.5, 1.5)] * 3)
shifts = st.tuples(*[st.floats(-100, 100)] * 3)


@settings(max_examples=40, deadline=None)
@given(turn=turns, shift=shifts)
def test_moving_by_the_logarithm_is_the_motion(turn: tuple[float, ...], shift: tuple[float, ...]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    points = np.array([[1.0, 2, 3], [-40, 5, 60]])
    twists = np.repeat(log_motions(matrix[None]), 2, axis=0)
    np.testing.assert_allclose(move_by(twists, points), points @ matrix[:3, :3].T + matrix[:3, 3], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(turn=turns, shift=shifts)
def test_a_twist_is_the_matrix_exponential_of_its_generator(turn: tuple[float, ...], shift: tuple[float, ...]) -> None:
    x, y, z = turn
    generator = np.zeros((4, 4))
    generator[:3] = np.array([[0, -z, y, shift[0]], [z, 0, -x, shift[1]], [-y, x, 0, shift[2]]])
    moved = (expm(generator) @ np.array([7.0, -8, 9, 1]))[:3]
    np.testing.assert_allclose(move_by(np.array([[*turn, *shift]]), np.array([[7.0, -8, 9]]))[0], moved, atol=1e-7)
