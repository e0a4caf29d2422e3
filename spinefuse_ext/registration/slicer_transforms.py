"""Transforms of 3D Slicer, ITK-SNAP and old ANTs that ITK's Python reader does not know, rebuilt as ITK transforms.

ITK reads the numbers of a transform only into a class that is registered by name. Its affine class keeps any number of
parameters as they are, so a copy of the file with the unknown names replaced by the affine one gives the numbers back,
of a text file as of an HDF5 file, also inside a composite. What they mean then follows from their counts.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.validation import TransformError

_FOREIGN = re.compile(
    rb"(?<![A-Za-z])(?:ThinPlateSplineKernelTransform|Rigid3DTransform|BSplineDeformableTransform"
    rb"|MatrixOffsetTransformBase)_(double|float)_3_3"
)
_GRID = 18  # fixed parameters of a B-spline in 3-D: size, origin, spacing and direction of its grid
_FEWEST_LANDMARKS = 4
_FIXED_LAYOUT = (".h5", ".hdf5", ".mat")


def has_foreign_types(content: bytes) -> bool:
    """Return whether a transform file names a class that has to be rebuilt here."""
    return bool(_FOREIGN.search(content))


def read_foreign(content: bytes, path: Path) -> list[Any]:
    """Return the ITK transforms of the file ``path`` with this ``content``, thin-plate, rigid and old B-splines too.

    An old B-spline followed by an affine transform is one map: its displacement is *added* to the affine map, as ITK 3
    defined it.

    Raises:
        RuntimeError: ITK cannot read the numbers.
        TransformError: The numbers do not describe a transform of the kind that the file names.
    """
    fixed_layout = path.suffix.lower() in _FIXED_LAYOUT
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"copy{path.suffix}"
        copy.write_bytes(_FOREIGN.sub(lambda name: _affine_name(name, fixed_layout), content))
        read = list(itk.transformread(str(copy)))
    if len(read) == 2 and _kind(read[0]) == "bspline" and _kind(read[1]) == "linear":
        return [_added(_bspline(*_numbers(read[0]), path), read[1], path)]
    return [_rebuilt(transform, path) for transform in read]


def _affine_name(name: re.Match[bytes], fixed_layout: bool) -> bytes:
    """Return the affine class in the precision of ``name``; as long as it where the file has a fixed layout."""
    affine = b"AffineTransform_" + name.group(1) + b"_3_3"
    return affine.ljust(len(name.group()), b"\0") if fixed_layout else affine


def _numbers(transform: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array(list(transform.GetParameters())), np.array(list(transform.GetFixedParameters()))


def _kind(transform: Any) -> str:
    """Return what the numbers behind an affine class really are: "thin plate", "bspline" or "linear"."""
    if transform.GetTransformTypeAsString() != "AffineTransform_double_3_3":
        return "other"
    parameters, fixed = transform.GetNumberOfParameters(), len(list(transform.GetFixedParameters()))
    total = len(list(transform.GetParameters()))
    if fixed == _GRID and total > fixed:
        return "bspline"
    return "linear" if (parameters, fixed, total) == (12, 3, 12) else "thin plate"


def _rebuilt(transform: Any, path: Path) -> Any:
    if hasattr(transform, "GetNumberOfTransforms"):
        composite = itk.CompositeTransform[itk.D, 3].New()
        for place in range(transform.GetNumberOfTransforms()):
            composite.AddTransform(_rebuilt(itk.down_cast(transform.GetNthTransform(place)), path))
        return composite
    build = {"thin plate": _thin_plate, "bspline": _bspline}.get(_kind(transform))
    return transform if build is None else build(*_numbers(transform), path)


def _thin_plate(parameters: NDArray[np.float64], fixed: NDArray[np.float64], path: Path) -> Any:
    """Return the spline with kernel r from the source landmarks (parameters) to the target ones (fixed), LPS mm."""
    if len(parameters) != len(fixed) or len(fixed) % 3 or len(fixed) < 3 * _FEWEST_LANDMARKS:
        raise TransformError(
            f"{path}: expected a thin-plate transform with {_FEWEST_LANDMARKS} or more source landmarks and as many "
            f"targets, got {len(parameters)} and {len(fixed)} coordinates; save the transform again."
        )
    source = parameters.reshape(-1, 3)
    _check_finite(np.concatenate((parameters, fixed)), path)
    if np.linalg.matrix_rank(source - source.mean(0)) < 3 or len(np.unique(source, axis=0)) < len(source):
        raise TransformError(
            f"{path}: the landmarks of the thin-plate transform lie in one plane or on each other, so it is not "
            "defined; move one and save the transform again."
        )
    spline = itk.ThinPlateSplineKernelTransform[itk.D, 3].New()
    spline.SetFixedParameters(_itk_numbers(fixed))
    spline.SetParameters(_itk_numbers(parameters))
    spline.ComputeWMatrix()  # without it ITK reads memory that it never filled
    return spline


def _bspline(parameters: NDArray[np.float64], fixed: NDArray[np.float64], path: Path) -> Any:
    """Return the cubic B-spline of ITK 4 with the grid and the coefficients of one of ITK 3 (equal numbers)."""
    _check_finite(np.concatenate((parameters, fixed)), path)
    if len(fixed) != _GRID or len(parameters) != 3 * np.prod(fixed[:3]) or fixed[6:9].min() <= 0:
        raise TransformError(
            f"{path}: expected a B-spline with 3 coefficients per grid point, got {len(parameters)} for the grid "
            f"{fixed[:3].astype(int).tolist()}; save the transform again."
        )
    spline = itk.BSplineTransform[itk.D, 3, 3].New()
    spline.SetFixedParameters(_itk_numbers(fixed))
    spline.SetParameters(_itk_numbers(parameters))
    return spline


def _added(spline: Any, affine: Any, path: Path) -> Any:
    """Return x -> A x + b + d(x) as the composite of x + A^-1 d(x) and then the affine map."""
    matrix = itk.array_from_matrix(affine.GetMatrix())
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise TransformError(f"{path}: the affine part has no inverse; save the transform again.")
    coefficients, fixed = _numbers(spline)
    turned = np.linalg.inv(matrix) @ coefficients.reshape(3, -1)
    composite = itk.CompositeTransform[itk.D, 3].New()
    composite.AddTransform(affine)
    composite.AddTransform(_bspline(turned.ravel(), fixed, path))  # the last one is applied first
    return composite


def _check_finite(numbers: NDArray[np.float64], path: Path) -> None:
    if not np.isfinite(numbers).all():
        raise TransformError(f"{path}: expected finite parameters, got NaN or infinity; save the transform again.")


def _itk_numbers(values: NDArray[np.float64]) -> Any:
    numbers = itk.OptimizerParameters[itk.D](len(values))
    for place, value in enumerate(values.tolist()):
        numbers.SetElement(place, value)
    return numbers
