"""One volume from whatever holds it, a DICOM folder or an image file, and back to NIfTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from spinefuse_ext.dicom.ct_values import correct_hounsfield
from spinefuse_ext.dicom.kind import is_dicom
from spinefuse_ext.dicom.white_frame import without_frame
from spinefuse_ext.files import whole_file
from spinefuse_ext.formats import META_IMAGE, NIFTI, NRRD, image_suffix
from spinefuse_ext.packages import missing_sentence, package_missing_for
from spinefuse_ext.validation import ImageReadError, MissingPackageError, check_exists

_READERS = {**dict.fromkeys(NIFTI, "NibabelReader"), **dict.fromkeys((*NRRD, *META_IMAGE), "ITKReader")}


def read_volume(path: str | Path, modality: str | None = None, series: str | int | None = None) -> MetaTensor:
    """Read a NIfTI, NRRD or MetaImage file or a DICOM folder as ``(1, X, Y, Z)`` float32 with its RAS affine.

    The voxel axes stay as stored; the affine says where they point. ``meta`` holds ``filename_or_obj``, ``warnings``
    (a sentence for everything found odd, corrected or not; also logged) and, from DICOM, ``patient_id`` and
    ``frame_of_reference``.

    Args:
        path: File, DICOM folder, or any file of a DICOM series, which is then read; told by content, not by name.
        modality: Which series of a DICOM folder. For image files, which do not say what they show, "CT" has padding
            outside the scan and a missing intercept corrected, as in a DICOM CT. A white frame is taken away from
            images of any named modality, but not without one: it may be a label volume.
        series: Description, number or UID of the series, where a DICOM folder holds several of the modality; with
            ``/stack2`` behind it, the second of several stacks in it.

    Raises:
        MissingPathError: The path does not exist.
        ImageReadError: The file is of another kind, damaged, or holds no single 3-D volume; a series is named for it.
    """
    path = check_exists(path, modality or "Image")
    suffix = image_suffix(path)
    if is_dicom(path) or suffix == ".dcm":
        from spinefuse_ext.dicom.read_series import read_series  # needs packages that image files do not

        return read_series(path, modality, series=None if series is None else str(series))
    if suffix not in _READERS:
        raise ImageReadError(f"{path} is no image file: expected a DICOM folder or one of {', '.join(_READERS)}.")
    if series is not None:
        raise ImageReadError(f"{path} is one image, so no series {series} can be chosen in it; name the DICOM folder.")
    image = _single_volume(_load(path, _READERS[suffix]), path)
    return image if modality is None else _cleaned(image, path, modality)


def _cleaned(image: MetaTensor, path: Path, modality: str) -> MetaTensor:
    """Take away a white frame and, from a CT, what is certainly no HU."""
    voxels, found = without_frame(image.numpy()[0], path)
    if modality == "CT":
        voxels, others = correct_hounsfield(voxels, image.affine.numpy(), path)
        found = [*found, *others]
    image.set_array(torch.from_numpy(voxels)[None])
    image.meta["warnings"] = found
    return image


def write_volume(image: MetaTensor, path: str | Path, dtype: np.dtype[Any] | type | None = None) -> None:
    """Write ``(1, X, Y, Z)`` as NIfTI with its RAS affine, whole or not at all.

    Args:
        image: The volume.
        path: Target ending in .nii or .nii.gz.
        dtype: Type on disk; by default int16 where that loses nothing, else float32.
    """
    if image_suffix(path) not in NIFTI:
        raise ValueError(f"Expected a file name that ends in .nii or .nii.gz, got {path}.")
    if image.ndim != 4 or image.shape[0] != 1:
        raise ValueError(f"Expected a volume (1, X, Y, Z), got {tuple(image.shape)}.")
    voxels = image.as_tensor()[0].cpu()
    nifti = nib.Nifti1Image(voxels.numpy().astype(dtype or _lossless(voxels)), image.affine.numpy())
    nifti.header.set_xyzt_units("mm")
    nifti.set_sform(nifti.affine, code="scanner")
    nifti.set_qform(nifti.affine, code="scanner")
    if not np.allclose(nifti.get_qform(), nifti.affine, atol=1e-3):
        nifti.set_qform(None, code="unknown")  # a quaternion cannot hold the shear of a tilted gantry
    with whole_file(path) as temporary:
        nib.save(nifti, temporary)


def _load(path: Path, reader: str) -> MetaTensor:
    try:
        return LoadImage(reader=reader, image_only=True, ensure_channel_first=True, dtype=np.float32)(path)
    except Exception as error:  # each library has its own for a damaged file
        package = package_missing_for(error)
        if package is not None:
            raise MissingPackageError(missing_sentence(package, f"Reading {path}")) from error
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ImageReadError(f"{path} cannot be read as an image ({reason[0]}); export it again.") from error


def _single_volume(image: MetaTensor, path: Path) -> MetaTensor:
    """Return the image with nothing but spinefuse's own meta, unless it is no single 3-D volume."""
    if image.ndim != 4 or image.shape[0] != 1:
        raise ImageReadError(f"{path} should hold one 3-D volume, got {tuple(image.shape)} (channel first); split it.")
    if not torch.isfinite(image.affine).all() or abs(float(torch.linalg.det(image.affine))) < 1e-9:
        raise ImageReadError(f"{path} has no usable geometry (affine {image.affine.tolist()}); export it again.")
    affine = image.affine.double()
    meta: dict[str, Any] = {
        "filename_or_obj": str(path),
        "original_affine": affine.numpy().copy(),
        "spatial_shape": np.array(image.shape[1:]),
        "space": "RAS",
        "warnings": [],
    }
    return MetaTensor(image.as_tensor(), affine=affine, meta=meta)


def _lossless(voxels: torch.Tensor) -> type:
    limits = torch.iinfo(torch.int16)
    fits = bool(((voxels >= limits.min) & (voxels <= limits.max) & (voxels == voxels.round())).all())
    return np.int16 if fits else np.float32
