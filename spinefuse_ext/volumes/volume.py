"""One volume from whatever holds it, a DICOM folder or an image file, and back to NIfTI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor

from spinefuse_ext.files import atomic_write
from spinefuse_ext.formats import IMAGE_SUFFIXES, NIFTI, format_of, header_of, image_suffix, is_detached
from spinefuse_ext.images import image_file
from spinefuse_ext.images.ct_values import AIR_HU, correct_hounsfield
from spinefuse_ext.images.image_content import image_content
from spinefuse_ext.images.kind import is_dicom
from spinefuse_ext.images.odd_content import content_findings
from spinefuse_ext.images.outside_view import named_gaps, without_gaps
from spinefuse_ext.images.white_frame import without_frame
from spinefuse_ext.validation import ImageReadError, check_exists


def read_volume(path: str | Path, modality: str | None = None, series: str | int | None = None) -> MetaTensor:
    """Read a NIfTI, NRRD or MetaImage file or a DICOM series as ``(1, X, Y, Z)`` float32 with its RAS affine.

    The voxel axes stay as stored; the affine says where they point. ``meta`` holds ``filename_or_obj``, ``warnings``
    (a sentence for everything found odd, corrected or not; also logged) and, from DICOM, ``patient_id`` and
    ``frame_of_reference``.

    Args:
        path: Image file (of a NIfTI pair or a detached header either file), told by content and not by name; or what
            holds a DICOM series: its folder, the DICOMDIR of a medium, a ZIP archive, or any file of the series, which
            is then read.
        modality: Which series of a DICOM folder. For image files, which do not say what they show, "CT" has padding
            outside the scan and a missing intercept corrected, as in a DICOM CT. A white frame is taken away from
            images of any named modality, but not without one: it may be a label volume.
        series: Description, number or UID of the series, where a DICOM folder holds several of the modality; with
            ``/stack2`` behind it, the second of several stacks in it.

    Raises:
        MissingPathError: The path does not exist.
        ImageReadError: The file is of another kind, damaged, or holds no single 3-D volume; NaN inside the image or one
            value only, where a modality is named; a series is named for a file.
    """
    path = check_exists(path, modality or "Image")
    if is_dicom(path):
        from spinefuse_ext.dicom_files.read_series import read_series  # needs packages that image files do not

        image = read_series(path, modality, series=None if series is None else str(series))
        return image if modality is None else _with_findings(image, path, modality)
    if format_of(header_of(path)) is None and image_content(path) is None:
        raise ImageReadError(f"{path} {_why_no_image(path)}")
    if series is not None:
        raise ImageReadError(f"{path} is one image, so no series {series} can be chosen in it; name the DICOM folder.")
    return _cleaned(image_file.read_image_file(path, modality), path, modality)


def _why_no_image(path: Path) -> str:
    if is_detached(path):
        return "holds voxels alone, and no header of the same name is beside it; put it there, or name another image."
    return f"is no image file: expected a DICOM folder or one of {', '.join(IMAGE_SUFFIXES)}."


def read_channels(path: str | Path, modalities: Sequence[str | None]) -> tuple[MetaTensor, ...]:
    """Read a NIfTI file of several volumes on one grid, such as CT and MR, each as ``read_volume`` with its modality.

    Raises:
        ImageReadError: As for ``read_volume``, or it holds another number of volumes.
    """
    path = check_exists(path, "Image")
    volumes = image_file.read_channels(path, len(modalities))
    return tuple(_cleaned(volume, path, modality) for volume, modality in zip(volumes, modalities, strict=True))


def _cleaned(image: MetaTensor, path: Path, modality: str | None) -> MetaTensor:
    """Fill gaps around the field of view, take away a white frame and, from a CT, what is certainly no HU."""
    if modality is None:
        image.meta["warnings"] = [*image.meta["warnings"], *named_gaps(image.numpy()[0], path)]
        return image
    voxels, gaps = without_gaps(image.numpy()[0], AIR_HU if modality == "CT" else 0.0, path)
    voxels, frames = without_frame(voxels, path)
    found = [*image.meta["warnings"], *gaps, *frames]
    if modality == "CT":
        voxels, others = correct_hounsfield(voxels, image.affine.numpy(), path)
        found = [*found, *others]
    image.set_array(torch.from_numpy(voxels)[None])
    image.meta["warnings"] = found
    return _with_findings(image, path, modality)


def _with_findings(image: MetaTensor, path: Path, modality: str) -> MetaTensor:
    """Note what is odd about the content; what is no image at all is refused."""
    image.meta["warnings"] = [*image.meta["warnings"], *content_findings(image, modality, path)]
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
    with atomic_write(path) as temporary:
        nib.save(nifti, temporary)


def _lossless(voxels: torch.Tensor) -> type:
    limits = torch.iinfo(torch.int16)
    fits = bool(((voxels >= limits.min) & (voxels <= limits.max) & (voxels == voxels.round())).all())
    return np.int16 if fits else np.float32
