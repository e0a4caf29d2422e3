"""Least-squares maps that are one 4 x 4 matrix: rigid, similarity and affine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spinefuse_ext.registration.landmarks import RAS_LPS

Points = NDArray[np.float64]


@dataclass(frozen=True)
class LinearMap:
    """``(N, 3)`` RAS mm in fixed (CT) space -> ``(N, 3)`` RAS mm in moving (MR) space by a ``(4, 4)`` matrix."""

    matrix: Points

    def __call__(self, points_mm: Points) -> Points:
        return np.asarray(points_mm @ self.matrix[:3, :3].T + self.matrix[:3, 3], dtype=np.float64)


def fit_rigid(fixed: Points, moving: Points) -> LinearMap:
    """Rotation and translation, ``(N, 3)`` each (Horn, JOSA A 1987); never a reflection."""
    centre, target = fixed.mean(0), moving.mean(0)
    return _about(centre, target, _rotation(fixed - centre, moving - target))


def fit_similarity(fixed: Points, moving: Points) -> LinearMap:
    """Rotation, translation and one scale (Umeyama, PAMI 1991)."""
    centre, target = fixed.mean(0), moving.mean(0)
    rotation = _rotation(fixed - centre, moving - target)
    turned = (fixed - centre) @ rotation.T
    scale = float((turned * (moving - target)).sum() / (turned**2).sum())
    return _about(centre, target, scale * rotation)


def fit_affine(fixed: Points, moving: Points) -> LinearMap:
    """All 12 numbers of a linear map; needs 4 points outside one plane."""
    centre, target = fixed.mean(0), moving.mean(0)
    solution, *_ = np.linalg.lstsq(fixed - centre, moving - target, rcond=None)
    return _about(centre, target, solution.T)


def to_itk(matrix: Points) -> Any:
    """The ITK affine transform (LPS) of a ``(4, 4)`` RAS matrix."""
    transform = itk.AffineTransform[itk.D, 3].New()
    transform.SetMatrix(itk.matrix_from_array(np.ascontiguousarray(matrix[:3, :3] * np.outer(RAS_LPS, RAS_LPS))))
    transform.SetOffset((matrix[:3, 3] * RAS_LPS).tolist())
    return transform


def _rotation(fixed: Points, moving: Points) -> Points:
    """The rotation of centred points by singular values (Arun et al., PAMI 1987)."""
    left, _, right = np.linalg.svd(moving.T @ fixed)
    proper = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(left @ right)))])
    return np.asarray(Rotation.from_matrix(left @ proper @ right).as_matrix(), dtype=np.float64)


def _about(centre: Points, target: Points, linear: Points) -> LinearMap:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, target - linear @ centre
    return LinearMap(matrix)
