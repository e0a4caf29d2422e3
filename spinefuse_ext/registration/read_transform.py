"""A transform file of ITK, 3D Slicer or ANTs as a map from CT (fixed) to MR (moving) points."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.formats import TRANSFORM_SUFFIXES
from spinefuse_ext.registration.landmarks import RAS_LPS
from spinefuse_ext.registration.slicer_transforms import has_foreign_types, read_foreign
from spinefuse_ext.validation import TransformError, check_exists

_INVERSE = re.compile(rb"Inverse[A-Za-z]+Transform_(?:double|float)_3_3")
_ELASTIX = re.compile(rb"^\(Transform ", re.MULTILINE)
_UNKNOWN = re.compile(r'Could not create an instance of "([^"]+)"')
_FEW = 100_000  # parameters; of more than that, the dense fields, finite numbers are not looked for
_SAVE_AGAIN = "save the transform again from 3D Slicer or ITK"


@dataclass(frozen=True)
class FileTransform:
    """A map from fixed (CT) to moving (MR) points, mm; ``transform`` is the ITK transform, which works in LPS."""

    transform: Any
    path: Path

    def __call__(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points ``(N, 3)`` in RAS mm of the fixed image to RAS mm of the moving one."""
        points = np.asarray(points_mm, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"Expected points (N, 3), got {points.shape}.")
        mapped = [list(self.transform.TransformPoint(point)) for point in (points * RAS_LPS).tolist()]
        return np.asarray(mapped, dtype=np.float64).reshape(-1, 3) * RAS_LPS


def read_transform(path: str | Path) -> FileTransform:
    """Read one 3-D transform: linear, B-spline, thin-plate, displacement field, or a composite of these.

    The file is taken as ITK writes it: LPS mm, from fixed (CT) to moving (MR) points, the direction in which an image
    is resampled. 3D Slicer saves a transform so ("from parent") when the MR lies under it and moves onto the CT. ITK's
    names are read (``.tfm``, ``.txt``, ``.h5``, ``.mat``), and of Slicer's own the thin-plate, ``Rigid3DTransform`` and
    old ``BSplineDeformableTransform`` ones.

    Raises:
        MissingPathError: The file does not exist.
        TransformError: The file is of another kind, damaged, 2-D, holds several transforms without their order, or only
            the inverse of a transform.
    """
    path = check_exists(path, "Transform file")
    if path.suffix.lower() not in TRANSFORM_SUFFIXES or path.is_dir():
        endings = ", ".join(TRANSFORM_SUFFIXES)
        raise TransformError(f"{path} is no transform file: expected a name that ends in {endings}.")
    content = path.read_bytes()
    if _ELASTIX.search(content):
        raise TransformError(
            f"{path} is a parameter file of elastix, not a transform of ITK; set ITKTransformOutputFileNameExtension "
            "in elastix to tfm and give the file that it then writes."
        )
    _check_forward(content, path)
    try:
        found = read_foreign(content, path) if has_foreign_types(content) else list(itk.transformread(str(path)))
    except RuntimeError as error:
        raise TransformError(_reason(str(error), path)) from error
    return FileTransform(_checked(found, path), path)


def _check_forward(content: bytes, path: Path) -> None:
    inverse = _INVERSE.search(content)
    if inverse:
        raise TransformError(
            f"{path} holds only the inverse of a transform ({inverse.group().decode()}), which has no formula; in "
            "Slicer's Transforms module press Invert, or convert it to a displacement field, and save that."
        )


def _reason(message: str, path: Path) -> str:
    unknown = _UNKNOWN.search(message)
    if unknown:
        return f"{path} holds a transform of the kind {unknown.group(1)}, which ITK does not know; {_SAVE_AGAIN}."
    return f"{path} is no transform file that ITK reads, or it is damaged; {_SAVE_AGAIN}."


def _checked(found: list[Any], path: Path) -> Any:
    """Return the one transform of the file; refuse lists, other dimensions and what is not finite or not invertible."""
    if len(found) != 1:
        raise TransformError(
            f"{path} holds {len(found)} transforms in a row, expected one, because a list does not say in which order "
            "they apply; save them as one composite transform."
        )
    transform = found[0]
    if transform.GetInputSpaceDimension() != 3:
        raise TransformError(
            f"{path} holds a {transform.GetInputSpaceDimension()}-D transform, expected a 3-D one; {_SAVE_AGAIN}."
        )
    for part in _parts(transform):
        _check_part(part, path)
    return transform


def _parts(transform: Any) -> list[Any]:
    """Return the transforms that a composite is made of, or the transform itself.

    The parameters of a composite that holds a thin-plate spline must not be asked for: ITK overruns its buffer.
    """
    if not hasattr(transform, "GetNumberOfTransforms"):
        return [transform]
    places = range(transform.GetNumberOfTransforms())
    return [part for place in places for part in _parts(itk.down_cast(transform.GetNthTransform(place)))]


def _check_part(part: Any, path: Path) -> None:
    few = part.GetNumberOfParameters() <= _FEW
    if few and not np.isfinite(np.array(list(part.GetParameters()))).all():
        raise TransformError(f"{path}: expected finite parameters, got NaN or infinity; {_SAVE_AGAIN}.")
    if hasattr(part, "GetMatrix") and abs(np.linalg.det(itk.array_from_matrix(part.GetMatrix()))) < 1e-9:
        raise TransformError(f"{path}: the matrix of the transform flattens space (determinant 0); {_SAVE_AGAIN}.")
