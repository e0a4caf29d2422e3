"""A fitted map as an ITK transform, and as a file that 3D Slicer, ITK, SimpleITK and ANTs open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import itk
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.files import atomic_write
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.landmarks import RAS_LPS
from spinefuse_ext.registration.linear import LinearMap, to_itk
from spinefuse_ext.registration.models import PointMap

_SUFFIXES = (".tfm", ".h5", ".txt")
#: Distance of the displacement vectors of a map that no matrix describes.
FIELD_SPACING_MM = 3.0
_AT_ONCE = 20_000


def transform_on(fit: RegistrationFit, grid: MetaTensor, spacing_mm: float = FIELD_SPACING_MM) -> Any:
    """Return the fit as an ITK transform (LPS mm) that is valid all over ``grid`` ``(1, X, Y, Z)``, in CT space.

    A linear fit gives an affine transform. Any other gives a displacement field along the axes of the grid, one cell
    wider on each side; outside it ITK moves nothing.

    Raises:
        ValueError: ``spacing_mm`` is not above 0.
    """
    if not spacing_mm > 0:
        raise ValueError(f"Expected a field spacing above 0 mm, got {spacing_mm}.")
    return map_on(fit.mapping, grid, spacing_mm)


def map_on(mapping: PointMap, grid: MetaTensor, spacing_mm: float = FIELD_SPACING_MM) -> Any:
    """Return any map from CT to MR points (RAS mm) as ``transform_on`` does that of a fit."""
    return to_itk(mapping.matrix) if isinstance(mapping, LinearMap) else _field(mapping, grid, spacing_mm)


def write_transform(
    fit: RegistrationFit, path: str | Path, *, grid: MetaTensor | None = None, spacing_mm: float = FIELD_SPACING_MM
) -> None:
    """Write the fit as an ITK transform file (``.tfm``, ``.h5`` or ``.txt``), LPS mm.

    The file maps points from fixed (CT) to moving (MR) space, which is what ITK resamples with. 3D Slicer reads it as
    a transform "from parent": put the moving volume under it and it moves onto the fixed one. Of a thin-plate or
    per-vertebra fit it is a displacement field over ``grid``, in ``.h5`` only: as text it would be huge.

    Raises:
        ValueError: The suffix is none that ITK writes, or a fit that is not linear comes without a grid or ``.h5``.
    """
    if Path(path).suffix not in _SUFFIXES:
        raise ValueError(f"Expected a transform file that ends in {', '.join(_SUFFIXES)}, got {path}.")
    if fit.is_linear:
        transform = to_itk(fit.matrix)  # affine: the one type that every reader knows, also Slicer's own
    elif grid is None or Path(path).suffix != ".h5":
        given = "no grid" if grid is None else "a grid"
        raise ValueError(f"Expected a grid and a file ending in .h5 for a {fit.model} fit, got {given} and {path}.")
    else:
        transform = transform_on(fit, grid, spacing_mm)
    with atomic_write(path) as temporary:
        itk.transformwrite(transform, str(temporary))


def _field(mapping: PointMap, grid: MetaTensor, spacing_mm: float) -> Any:
    affine = grid.affine.numpy().astype(np.float64)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / voxel_mm
    cells = np.ceil((np.array(grid.shape[1:]) - 1) * voxel_mm / spacing_mm).astype(int) + 3
    origin = affine[:3, 3] - axes @ np.full(3, spacing_mm)
    vectors = _displacements(mapping, origin, axes * spacing_mm, cells)
    image = itk.Image[itk.Vector[itk.D, 3], 3].New()
    region = itk.ImageRegion[3]()
    region.SetSize(cells.tolist())
    image.SetRegions(region)
    image.Allocate()
    itk.array_view_from_image(image)[:] = vectors.transpose(2, 1, 0, 3)  # itk.image_from_array has no such vectors
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin((origin * RAS_LPS).tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(RAS_LPS[:, None] * axes)))
    transform = itk.DisplacementFieldTransform[itk.D, 3].New()
    transform.SetDisplacementField(image)
    return transform


def _displacements(
    mapping: PointMap, origin: NDArray[np.float64], steps: NDArray[np.float64], cells: NDArray[np.int_]
) -> NDArray[np.float64]:
    """``(X, Y, Z, 3)`` ways from CT to MR in LPS mm, some thousand points at a time."""
    points = np.indices(tuple(cells)).reshape(3, -1).T @ steps.T + origin
    parts = np.array_split(points, -(-len(points) // _AT_ONCE))
    moved = np.concatenate([mapping(part) - part for part in parts]) * RAS_LPS
    return np.asarray(moved.reshape(*cells, 3), dtype=np.float64)
