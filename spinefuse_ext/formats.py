"""Endings of the files that hold images, and names that are no data: the one place where either is written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

NIFTI = (".nii.gz", ".nii")
NRRD = (".nrrd", ".nhdr")
META_IMAGE = (".mha", ".mhd")
#: Files with an image, in the order in which a name without its ending is looked for.
IMAGE_SUFFIXES = (*NIFTI, *NRRD, *META_IMAGE)
#: Segmentations as 3D Slicer saves them; NRRD with names of segments in the header.
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nhdr")
#: Headers whose voxels stand in another file of the same stem.
DETACHED_SUFFIXES = (".hdr", ".img", ".mhd", ".nhdr")
#: A DICOM folder is named by its key and this.
DICOM_FOLDER = "_dicom"

#: What operating systems, file servers and archives put among a person's files, in small letters.
_SYSTEM_NAMES = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}


def image_suffix(path: str | Path) -> str:
    """Return the ending of an image file's name in small letters, ``.nii.gz`` as one; any other name's last ending."""
    path = Path(path)
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def is_image_file(path: str | Path) -> bool:
    """Tell by its name whether a file holds an image; those that a system put there do not."""
    path = Path(path)
    return image_suffix(path) in IMAGE_SUFFIXES and not is_system_name(path.name)


def is_system_name(name: str) -> bool:
    """Tell whether a file or folder is none of a person's data: hidden, or put there by a system or an archive.

    So are ``.DS_Store``, ``._ct.nii`` (AppleDouble), ``.ipynb_checkpoints``, ``__MACOSX``, ``@eaDir``, ``Thumbs.db``.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def data_paths(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out what a system put among files or folders."""
    return (path for path in paths if not is_system_name(path.name))
