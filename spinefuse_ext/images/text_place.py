"""The place of a NRRD or MetaImage: its unit made mm, and what the header left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinefuse_ext.images.image_content import unreadable
from spinefuse_ext.images.stored_image import SHEAR_DEG, Affine, Place, is_usable, shear_deg

_MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres", "", "?", "???", "none"), 1.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometers"), 0.001),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
}


def checked_place(path: Path, affine: Affine, unit: str | None, missing: str | None) -> Place:
    """Return the place in RAS mm of ``affine``, which is in ``unit`` (None: mm); ``missing`` is what was guessed.

    ITK takes every number for mm, so with another unit points of 3D Slicer lie elsewhere: ``itk_from_ras`` has the way.

    Raises:
        ImageReadError: The affine is no volume, or the unit is none of length.
    """
    if not is_usable(affine):
        raise unreadable(path, f"it has no usable geometry, affine {affine.tolist()}")
    scale = _MILLIMETRES.get((unit or "mm").strip().lower())
    if scale is None:
        raise unreadable(path, f"it gives lengths in {unit}, which is not known", "save it again in mm")
    found = []
    in_mm = np.diag([scale, scale, scale, 1.0]) @ affine
    if scale != 1.0:
        found.append(f"the header gives lengths in {unit}, which were converted to mm")
    if missing is not None:
        found.append(f"the header says {missing} of the patient; LPS from 0 is assumed; export it with its orientation")
    if (angle := shear_deg(in_mm)) > SHEAR_DEG:
        found.append(f"its axes are {90 - angle:.1f} degrees apart, not 90 (sheared); ITK may straighten it")
    sentences = tuple(f"{path}: {sentence}" for sentence in found)
    return Place(in_mm, affine @ np.linalg.inv(in_mm) if scale != 1.0 else np.eye(4), missing is None, sentences)
