"""A fitted transform as a file that 3D Slicer, ITK, SimpleITK and ANTs open."""

from __future__ import annotations

from pathlib import Path

import itk

from spinefuse_ext.files import whole_file
from spinefuse_ext.registration.fit import LandmarkFit

_SUFFIXES = (".tfm", ".h5", ".txt")


def write_transform(fit: LandmarkFit, path: str | Path) -> None:
    """Write the fit as an ITK affine transform (``.tfm``, ``.h5`` or ``.txt``), LPS mm.

    The file maps points from fixed (CT) to moving (MR) space, which is what ITK resamples with. 3D Slicer reads it as
    a linear transform "from parent": put the moving volume under it and it moves onto the fixed one.

    Raises:
        ValueError: The suffix is none that ITK writes.
    """
    if Path(path).suffix not in _SUFFIXES:
        raise ValueError(f"Expected a transform file that ends in {', '.join(_SUFFIXES)}, got {path}.")
    affine = itk.AffineTransform[itk.D, 3].New()  # the one type that every reader knows, also Slicer's own
    affine.SetMatrix(fit.transform.GetMatrix())
    affine.SetOffset(fit.transform.GetOffset())
    with whole_file(path) as temporary:
        itk.transformwrite(affine, str(temporary))
