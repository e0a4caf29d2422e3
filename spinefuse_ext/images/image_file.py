"""An image file by the one reader of its format, which its content says and its name does not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from spinefuse_ext.formats import Kind, format_of, header_of
from spinefuse_ext.images.image_content import image_content, unreadable
from spinefuse_ext.images.metaimage import read_metaimage
from spinefuse_ext.images.nifti import read_nifti
from spinefuse_ext.images.nrrd import read_nrrd
from spinefuse_ext.images.stored_image import ITK_FROM_RAS, PLACED, StoredImage
from spinefuse_ext.packages import installed, missing_sentence
from spinefuse_ext.validation import ImageReadError, MissingPackageError

logger = logging.getLogger(__name__)

#: The reader of each format; those but NIfTI's read by ITK, and no file that is compressed as a whole.
_READERS = {Kind.NIFTI: read_nifti, Kind.NRRD: read_nrrd, Kind.META: read_metaimage}


def read_image_file(path: Path, modality: str | None = None) -> MetaTensor:
    """Read a NIfTI, NRRD or MetaImage file as ``(1, X, Y, Z)`` float32 with its RAS affine, as ``read_volume`` says.

    Args:
        path: The file; its ending does not count, but ``ct.img`` stands for ``ct.hdr`` where that is beside it.
        modality: "CT" or "MR", which a segmentation is refused for; None for any volume.

    Raises:
        ImageReadError: It is damaged, of another kind, or holds no single 3-D volume.
    """
    stored = _stored(header_of(path))
    if stored.is_labels and modality is not None:
        raise ImageReadError(f"{path} is a segmentation (its header names segments), not a {modality}; name the image.")
    return _volume(stored, path)


def read_channels(path: Path, number: int) -> list[MetaTensor]:
    """Read a NIfTI file of several volumes on one grid, each as ``read_image_file`` has the only one of a file.

    Raises:
        ImageReadError: It is damaged, of another kind, or holds another number of volumes.
    """
    header = header_of(path)
    content = image_content(header)
    if content is None or content.kind != Kind.NIFTI:
        raise unreadable(path, "it is no NIfTI file, which alone may hold several volumes")
    stored = read_nifti(header, volumes=number)
    volumes = np.moveaxis(stored.voxels, -1, 0)
    return [_volume(replace(stored, voxels=np.ascontiguousarray(each)), path) for each in volumes]


def _volume(stored: StoredImage, path: Path) -> MetaTensor:
    affine, place = stored.place.affine, stored.place
    for sentence in place.found:
        logger.warning("%s", sentence)
    meta = {
        "filename_or_obj": str(path),
        "original_affine": affine.copy(),
        "spatial_shape": np.array(stored.voxels.shape),
        "space": "RAS",
        "warnings": list(place.found),
        ITK_FROM_RAS: place.itk_from_ras,
        PLACED: place.placed,
    }
    return MetaTensor(torch.from_numpy(stored.voxels)[None], affine=torch.from_numpy(affine), meta=meta)


def _stored(path: Path) -> StoredImage:
    named = format_of(path)
    if named is not None and named.kind != Kind.NIFTI and not installed("itk"):
        raise MissingPackageError(missing_sentence("itk", f"Reading {path}"))
    try:
        content = image_content(path)
        if content is None:
            raise unreadable(path, "it is neither NIfTI nor NRRD nor MetaImage, or its first bytes are damaged")
        if content.kind in _READERS and (content.kind == Kind.NIFTI or not content.gzipped):
            return _READERS[content.kind](path)
    except OSError as error:
        raise unreadable(path, error.strerror or type(error).__name__, "check the file and its rights") from error
    if content.kind == Kind.DICOM:
        raise unreadable(path, "its content is DICOM", "name its folder, or rename it to end in .dcm")
    raise unreadable(path, f"it is {content.kind} compressed by gzip as a whole", "unpack it")
