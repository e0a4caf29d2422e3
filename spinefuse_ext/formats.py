"""Formats of images, and names that are no data: the one place where endings and first bytes are written down.

A further format is a row of ``FORMATS`` and its reader in ``spinefuse_ext.images.image_file``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from monai.utils import StrEnum


class Kind(StrEnum):
    """Formats that hold a volume."""

    NIFTI = "NIfTI"
    NRRD = "NRRD"
    META = "MetaImage"
    DICOM = "DICOM"


class Format(NamedTuple):
    """How the files of a format end and begin.

    ``suffixes`` end the file that is named; those of ``headers`` hold no voxels, which stand in another file of the
    same stem, for a NIfTI pair one that ends as ``voxels``. ``begins`` is found in the first bytes of every file of
    the format and of no other.
    """

    kind: Kind
    suffixes: tuple[str, ...]
    headers: tuple[str, ...]
    voxels: tuple[str, ...]
    begins: re.Pattern[bytes]


#: NIfTI in one file, which is also what this package writes.
NIFTI = (".nii.gz", ".nii")
#: Formats of image files, in the order in which a name without its ending is looked for.
FORMATS = (
    Format(  # it begins with the length of its header, 348 or 540, in either byte order
        *(Kind.NIFTI, (*NIFTI, ".hdr", ".hdr.gz"), (".hdr", ".hdr.gz"), (".img", ".img.gz")),
        re.compile(rb"\A(\x5c\x01\0\0|\0\0\x01\x5c|\x1c\x02\0\0|\0\0\x02\x1c)"),
    ),
    Format(Kind.NRRD, (".nrrd", ".nhdr"), (".nhdr",), (), re.compile(rb"\ANRRD000")),
    Format(Kind.META, (".mha", ".mhd"), (".mhd",), (), re.compile(rb"^[ \t]*NDims[ \t]*=", re.MULTILINE)),
)
IMAGE_SUFFIXES = tuple(suffix for each in FORMATS for suffix in each.suffixes)
#: Segmentations as 3D Slicer saves them; NRRD with names of segments in the header.
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nhdr")
#: Single files that stand for a DICOM series: an image of it (or all of it, enhanced), and an archive of its folder.
ARCHIVE = ".zip"
DICOM_SUFFIXES = (".dcm", ARCHIVE)
#: A DICOM folder is named by its key and this.
DICOM_FOLDER = "_dicom"
#: One file for each image or label that a server is sent (``.bin`` by OHIF, ``.json`` by Slicer) or sends.
SENT_IMAGES = (*NIFTI, ".nrrd", ".mha")
SENT_LABELS = (*SENT_IMAGES, ".json", ".bin")
RESULT_SUFFIXES = (*NIFTI, ".nrrd", SEGMENTATION_SUFFIXES[0], ".mha")
#: Point lists and transforms, in the order in which they are looked for beside an image.
LANDMARK_SUFFIXES = (".mrk.json", ".fcsv", ".csv")
TRANSFORM_SUFFIXES = (".tfm", ".h5", ".hdf5", ".txt", ".mat")

_VOXELS = tuple(suffix for each in FORMATS for suffix in each.voxels)
_DETACHED = (*(suffix for each in FORMATS for suffix in each.headers), *_VOXELS)
_ENDINGS = sorted((*IMAGE_SUFFIXES, *SEGMENTATION_SUFFIXES, *DICOM_SUFFIXES, *_VOXELS), key=len, reverse=True)

#: What operating systems, file servers and archives put among a person's files, in small letters.
_SYSTEM_NAMES = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}


def image_suffix(path: str | Path) -> str:
    """Return the ending of an image file's name in small letters, ``.nii.gz`` as one; any other name's last ending."""
    name = Path(path).name.lower()
    known = (suffix for suffix in _ENDINGS if suffix not in SEGMENTATION_SUFFIXES and name.endswith(suffix))
    return next(known, Path(name).suffix)


def image_stem(path: str | Path) -> str:
    """Return the name of an image file without its ending, ``.seg.nrrd`` as one; any other name as it is."""
    name = Path(path).name
    ending = next((suffix for suffix in _ENDINGS if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]


def format_of(path: str | Path) -> Format | None:
    """Return the format that a file's name claims; None for a name that is no image file's."""
    suffix = image_suffix(path)
    return next((each for each in FORMATS if suffix in each.suffixes), None)


def is_image_file(path: str | Path) -> bool:
    """Tell by its name whether a file holds an image; those that a system put there do not, nor do DICOM files."""
    return format_of(path) is not None and not is_system_name(Path(path).name)


def is_detached(path: str | Path) -> bool:
    """Tell by its name whether a file is one of several that hold an image together, header or voxels."""
    return image_suffix(path) in _DETACHED


def header_of(path: Path) -> Path:
    """Return the header of a file that holds voxels alone (``ct.hdr`` of ``ct.img``), where there is one; else it."""
    suffix = image_suffix(path)
    headers = next((each.headers for each in FORMATS if suffix in each.voxels), ())
    return next(iter(_beside(path, headers)), path)


def voxels_of(header: Path) -> Path | None:
    """Return the file with the voxels of a NIfTI pair's header, None where it is missing."""
    return next(iter(_beside(header, _VOXELS)), None)


def images_named(folder: Path, stem: str, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return what holds the image of that name in a folder: image files; else a file, archive or folder of DICOM."""
    files = [path for path in (folder / f"{stem}{suffix}" for suffix in suffixes) if path.is_file()]
    if files:
        return files
    dicom = [path for path in (folder / f"{stem}{suffix}" for suffix in DICOM_SUFFIXES) if path.is_file()]
    return dicom + [path for path in (folder / f"{stem}{DICOM_FOLDER}", folder / stem) if path.is_dir()]


def _beside(path: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files of the same stem with one of the endings, whatever their capitals."""
    stem = image_stem(path)
    spelled = (stem + form(suffix) for suffix in suffixes for form in (str.lower, str.upper))
    return [found for found in map(path.with_name, spelled) if found.is_file()]


def is_system_name(name: str) -> bool:
    """Tell whether a file or folder is none of a person's data: hidden, or put there by a system or an archive.

    So are ``.DS_Store``, ``._ct.nii`` (AppleDouble), ``.ipynb_checkpoints``, ``__MACOSX``, ``@eaDir``, ``Thumbs.db``.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def data_paths(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out what a system put among files or folders."""
    return (path for path in paths if not is_system_name(path.name))
