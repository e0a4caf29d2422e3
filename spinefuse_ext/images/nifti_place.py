"""Where a NIfTI header says that the voxels lie: two forms, of which programs take different ones, and units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinefuse_ext.images.image_content import unreadable
from spinefuse_ext.images.stored_image import SHEAR_DEG, Affine, Place, corner_distance_mm, is_usable, shear_deg

_UNITS = {1: ("metre", 1000.0), 3: ("micron", 0.001)}  # xyzt_units, lowest 3 bits; 2 is mm, 0 unknown (most often mm)
_SCANNER = 1  # the code of a form that gives scanner coordinates
_APART = 0.1  # part of a voxel by which two forms may differ without a word
_SIZES_AGREE = 0.01


@dataclass(frozen=True)
class _Forms:
    """Both forms of a header in mm, None where it has none that can be used, and voxel sizes, not always usable."""

    sform: Affine | None
    qform: Affine | None
    codes: tuple[int, int]
    sizes_mm: Affine


def nifti_place(header: Any, shape: tuple[int, ...], path: Path) -> Place:
    """Return the place of the volume ``shape`` as nibabel chooses it: the sform, else the qform, else none.

    ITK, and with it 3D Slicer and ANTs, takes the qform unless the code of the sform is 1 or there is no qform, and
    voxel sizes out of pixdim. Where that is another place, ``itk_from_ras`` of the result leads to it.

    Raises:
        ImageReadError: No form can be used, or there is none and no voxel size.
    """
    unit, scale = _UNITS.get(int(header["xyzt_units"]) % 8, ("mm", 1.0))
    forms, found = _read(header, scale)
    affine = _chosen(forms, header, path)
    if unit != "mm":
        found.append(f"the header gives lengths in {unit}, which were converted to mm")
    if (angle := shear_deg(affine)) > SHEAR_DEG:
        found.append(f"its axes are {90 - angle:.1f} degrees apart, not 90 (sheared); ITK may straighten it")
    found += _disagreements(forms, affine, shape)
    placed = forms.sform is not None or forms.qform is not None
    return Place(affine, _to_itk(forms, affine, shape), placed, tuple(f"{path}: {sentence}" for sentence in found))


def _read(header: Any, scale: float) -> tuple[_Forms, list[str]]:
    found = []
    stored = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    sizes = np.abs(stored)
    usable = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    if not usable or (stored < 0).any():
        named = ", ".join(f"{size:g}" for size in stored)
        found.append(f"pixdim is {named}, which is no voxel size" + ("; the minus was left out" if usable else ""))
    codes = int(header["sform_code"]), int(header["qform_code"])
    sform = _in_mm(header.get_sform(), scale) if codes[0] > 0 else None
    qform = _in_mm(_quaternion(header, sizes), scale) if codes[1] > 0 and usable else None
    for name, code, form in zip(("sform", "qform"), codes, (sform, qform), strict=True):
        if code > 0 and form is None:
            found.append(f"the {name} cannot be used, though its code is {code}")
    return _Forms(sform, qform, codes, sizes * scale), found


def _quaternion(header: Any, sizes: Affine) -> Affine:
    copy = header.copy()
    copy["pixdim"][1:4] = sizes
    copy["pixdim"][0] = -1.0 if header["pixdim"][0] < 0 else 1.0  # qfac; 0 means 1, and nothing else is allowed
    try:
        return np.asarray(copy.get_qform(), dtype=np.float64)
    except ValueError:  # no unit quaternion
        return np.full((4, 4), np.nan)


def _in_mm(form: Affine, scale: float) -> Affine | None:
    affine = np.asarray(form, dtype=np.float64).copy()
    affine[:3] *= scale
    return affine if is_usable(affine) else None


def _chosen(forms: _Forms, header: Any, path: Path) -> Affine:
    for form in (forms.sform, forms.qform):
        if form is not None:
            return form
    sizes_usable = np.isfinite(forms.sizes_mm).all() and (forms.sizes_mm > 0).all()
    if any(code > 0 for code in forms.codes) or not sizes_usable:
        pixdim = header["pixdim"][1:4].tolist()
        raise unreadable(path, f"it has no usable geometry: sform and qform code {forms.codes}, pixdim {pixdim}")
    affine = np.asarray(header.get_base_affine(), dtype=np.float64)
    affine[:3, :3] = np.diag(np.sign(np.diag(affine)[:3]) * forms.sizes_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(header["dim"][1:4]) - 1) / 2)
    return affine


def _disagreements(forms: _Forms, affine: Affine, shape: tuple[int, ...]) -> list[str]:
    if forms.sform is None and forms.qform is None:
        return [
            "the header says no place and no orientation (sform and qform codes are 0), so left and right, head and "
            "feet are a guess; export the image again with its orientation"
        ]
    found = []
    if forms.sform is not None and forms.qform is not None:
        apart = corner_distance_mm(forms.sform, forms.qform, shape)
        if apart > _APART * _smallest(affine):
            found.append(
                f"sform (code {forms.codes[0]}) and qform (code {forms.codes[1]}) place the image up to {apart:.2f} mm "
                f"apart; {_itk_choice(forms)}; check where it lies"
            )
    if forms.sform is not None and np.isfinite(forms.sizes_mm).all() and (forms.sizes_mm > 0).all():
        spacing = np.linalg.norm(forms.sform[:3, :3], axis=0)
        if not np.allclose(spacing, forms.sizes_mm, rtol=_SIZES_AGREE):
            said = [" x ".join(f"{size:.3g}" for size in sizes) for sizes in (forms.sizes_mm, spacing)]
            found.append(f"pixdim says voxels of {said[0]} mm, the sform, which is used, {said[1]} mm; check the size")
    return found


def _itk_choice(forms: _Forms) -> str:
    if _itk_takes_sform(forms):
        return "the sform is used, as in 3D Slicer and ANTs"
    return "the sform is used, while 3D Slicer and ANTs use the qform"


def _itk_takes_sform(forms: _Forms) -> bool:
    if forms.sform is None or shear_deg(forms.sform) > SHEAR_DEG:
        return False
    return forms.codes[0] == _SCANNER or forms.qform is None


def _to_itk(forms: _Forms, affine: Affine, shape: tuple[int, ...]) -> Affine:
    """Return the map to where ITK 5.4 places the voxels; the identity where it agrees, or refuses the file."""
    there = _in_itk(forms)
    if there is None or corner_distance_mm(affine, there, shape) <= _APART * _smallest(affine):
        return np.eye(4)
    return np.asarray(there @ np.linalg.inv(affine))


def _in_itk(forms: _Forms) -> Affine | None:
    if not (np.isfinite(forms.sizes_mm).all() and (forms.sizes_mm > 0).all()):
        return None
    if forms.sform is None and forms.qform is None:
        return np.diag([*(forms.sizes_mm * [-1, -1, 1]), 1.0])
    if forms.sform is None or not _itk_takes_sform(forms):
        return forms.qform
    there = forms.sform.copy()
    there[:3, :3] *= forms.sizes_mm / np.linalg.norm(there[:3, :3], axis=0)
    return there


def _smallest(affine: Affine) -> float:
    return float(np.linalg.norm(affine[:3, :3], axis=0).min())
