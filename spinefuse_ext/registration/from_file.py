"""A registration that was made elsewhere, out of its transform file."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.linear import LinearMap, fit_rigid, to_itk
from spinefuse_ext.registration.models import PointMap
from spinefuse_ext.registration.read_transform import FileTransform, read_transform
from spinefuse_ext.validation import TransformError

FROM_FILE = "transform_file"


def use_transform(transform: str | Path | FileTransform, ct: MetaTensor) -> RegistrationFit:
    """Return the map of a transform file as a fit without landmarks; its errors are not known.

    The file maps CT (fixed) to MR (moving) points, as ``read_transform`` says. A linear one becomes a matrix; of any
    other, ``matrix`` is the rigid map closest to it at the corners and the middle of the CT ``(1, X, Y, Z)``.

    Raises:
        MissingPathError: The file does not exist.
        TransformError: It cannot be read, or mirrors the patient.
    """
    read = transform if isinstance(transform, FileTransform) else read_transform(transform)
    corners = _corners(ct)
    mapping: PointMap = LinearMap(_matrix(read)) if read.transform.IsLinear() else read
    if isinstance(mapping, LinearMap):
        if np.linalg.det(mapping.matrix) < 0:
            raise TransformError(
                f"{read.path} mirrors the patient (negative determinant), which no movement does; check its origin."
            )
        return RegistrationFit(FROM_FILE, to_itk(mapping.matrix), mapping.matrix, (), np.empty(0), np.empty(0), mapping)
    matrix = fit_rigid(corners, mapping(corners)).matrix
    return RegistrationFit(FROM_FILE, None, matrix, (), np.empty(0), np.empty(0), mapping)


def _matrix(read: FileTransform) -> NDArray[np.float64]:
    """Return a linear map as the ``(4, 4)`` matrix that its images of the origin and the unit points fix."""
    origin, *ends = read(np.vstack([np.zeros(3), np.eye(3)]))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack(ends, axis=1) - origin[:, None], origin
    return matrix


def _corners(image: MetaTensor) -> NDArray[np.float64]:
    sizes = np.array(image.shape[1:]) - 1
    voxels = np.vstack([sizes * np.array(list(product((0, 1), repeat=3))), sizes / 2])
    affine = image.affine.numpy()
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)
