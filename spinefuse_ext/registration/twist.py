"""Rigid motions as twists (the logarithm of SE(3)), so that they can be averaged and stay rigid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


def log_motions(matrices: Array) -> Array:
    """``(V, 4, 4)`` rigid matrices -> ``(V, 6)`` twists: rotation vector (radians), then translation part (mm)."""
    turns = np.atleast_2d(Rotation.from_matrix(matrices[:, :3, :3]).as_rotvec())
    shifts = np.linalg.solve(_left_jacobian(turns), matrices[:, :3, 3, None])[..., 0]
    return np.asarray(np.concatenate([turns, shifts], axis=1), dtype=np.float64)


def move_by(twists: Array, points: Array) -> Array:
    """Move each of ``(N, 3)`` points by the motion of its own twist ``(N, 6)``."""
    turned = Rotation.from_rotvec(twists[:, :3]).apply(points)
    shifts = np.einsum("nij,nj->ni", _left_jacobian(twists[:, :3]), twists[:, 3:])
    return np.asarray(turned + shifts, dtype=np.float64)


def _left_jacobian(turns: Array) -> Array:
    """``(N, 3)`` rotation vectors -> ``(N, 3, 3)``: what turns the translation part of a twist into a shift."""
    angle = np.linalg.norm(turns, axis=1)[:, None, None]
    cross = _cross_matrices(turns)
    small = angle < 1e-4  # there the series is exact to machine precision
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross, dtype=np.float64)


def _cross_matrices(vectors: Array) -> Array:
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
