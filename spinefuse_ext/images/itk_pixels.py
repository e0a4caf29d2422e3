"""Pixels and place of a NRRD or MetaImage by the one reader of ITK that knows the format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.images.image_content import unreadable
from spinefuse_ext.images.stored_image import LPS_TO_RAS, Affine
from spinefuse_ext.packages import missing_sentence, package_missing_for
from spinefuse_ext.validation import MissingPackageError


def read_by_itk(path: Path, reader: str) -> tuple[NDArray[np.float32], Affine]:
    """Return ``(X, Y, Z)`` and the affine in RAS, in the unit of the file; ``reader`` is "NrrdImageIO" or so.

    Raises:
        ImageReadError: ITK cannot read it.
        MissingPackageError: ITK is not installed.
    """
    try:
        import itk
    except ImportError as error:
        package = package_missing_for(error) or "itk"
        raise MissingPackageError(missing_sentence(package, f"Reading {path}")) from error
    loaded = itk.ImageFileReader[itk.Image[itk.F, 3]].New(FileName=str(path), ImageIO=getattr(itk, reader).New())
    try:
        loaded.Update()
    except RuntimeError as error:
        reason = re.sub(r"^(\[nrrd\] \w+: |ITK ERROR: )", "", str(error).strip().splitlines()[-1])
        raise unreadable(path, reason) from error
    image = loaded.GetOutput()
    return np.ascontiguousarray(itk.array_from_image(image).T), itk_affine(image)


def itk_affine(image: Any) -> Affine:
    """The affine ``(4, 4)`` in RAS of an image of ITK, in the unit of its file."""
    import itk

    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = np.asarray(image.GetOrigin())
    return np.asarray(LPS_TO_RAS @ affine)
