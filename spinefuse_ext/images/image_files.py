"""Every file that an image is read from, so that a change of any of them is noticed."""

from __future__ import annotations

from pathlib import Path

from spinefuse_ext.formats import image_stem, is_detached, is_system_name
from spinefuse_ext.images.kind import is_archive, is_dicom


def image_files(path: Path) -> tuple[Path, list[Path]]:
    """Return a folder and the files in it that ``path`` stands for, in a fixed order; no file for what does not exist.

    A folder stands for all files below it, a file of a DICOM series for the folder it lies in (so are they read), and
    a file of a detached image or a NIfTI pair for all files of its stem. What a system put there does not count.
    """
    if is_dicom(path) and not is_archive(path):
        root = path if path.is_dir() else path.parent
        return root, sorted(file for file in root.rglob("*") if file.is_file() and _is_data(file, root))
    if is_detached(path):
        stems = {path.stem, image_stem(path)}
        beside = (file for file in path.parent.iterdir() if {file.stem, image_stem(file)} & stems)
        return path.parent, sorted(file for file in beside if file.is_file())
    return path.parent, [path] if path.is_file() else []


def _is_data(file: Path, root: Path) -> bool:
    """Whether no part of the way from ``root`` is a system's: such files change when somebody merely looks."""
    return not any(map(is_system_name, file.relative_to(root).parts))
