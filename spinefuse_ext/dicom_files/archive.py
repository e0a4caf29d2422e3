"""A ZIP archive of DICOM files as the folder that was packed, for as long as it is read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai.data import MetaTensor

from spinefuse_ext.images.kind import is_archive
from spinefuse_ext.unpack import unpack
from spinefuse_ext.validation import ArchiveError, SpinefuseError


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """Yield the folder that an archive holds, or ``source`` itself where it is none.

    The folder is a temporary one that only its owner may enter, and is deleted at the end. Errors from within name
    the archive in its place.

    Raises:
        ArchiveError: it is damaged, locked by a password, leads out of its folder, or does not fit on the disk.
    """
    if not is_archive(source):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="spinefuse-") as place:
        folder = Path(place) / source.name
        try:
            unpack(source, folder)
        except OSError as error:
            raise ArchiveError(
                f"{source} cannot be unpacked in {tempfile.gettempdir()} ({error.strerror or error}); make room there, "
                "or name another folder by the environment variable TMPDIR."
            ) from error
        try:
            yield folder
        except SpinefuseError as error:
            raise type(error)(_told(str(error), folder, source)) from error


def named_after(image: MetaTensor, folder: Path, source: Path) -> MetaTensor:
    """Let what ``image.meta`` says of the unpacked ``folder`` be said of its archive ``source``; return the image."""
    if folder != source:
        image.meta.update({key: _renamed(value, folder, source) for key, value in image.meta.items()})
    return image


def _renamed(value: object, folder: Path, source: Path) -> object:
    if isinstance(value, list):
        return [_renamed(each, folder, source) for each in value]
    return _told(value, folder, source) if isinstance(value, str) else value


def _told(sentence: str, folder: Path, source: Path) -> str:
    return sentence.replace(str(folder), str(source))
