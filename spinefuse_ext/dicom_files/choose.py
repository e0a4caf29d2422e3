"""The one DICOM series of a folder that is meant: by modality, by name, or by one of its files."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from spinefuse_ext.dicom_files.read_file import is_directory_file
from spinefuse_ext.dicom_files.resent import without_resent
from spinefuse_ext.dicom_files.series import DERIVED, Series, find_series, series_of
from spinefuse_ext.dicom_files.single_images import joined_images
from spinefuse_ext.images.kind import is_dicom_file
from spinefuse_ext.validation import ImageReadError, check_exists

logger = logging.getLogger(__name__)

#: ``7/stack2``, ``7/2`` or ``stack2``: a series, if one is named, and the number of a stack in it.
_STACK = re.compile(r"(?:(?P<series>.+)/)?stack(?P<number>\d+)|(?P<other>.+)/(?P<place>\d+)")
_SCANS = ("CT", "MR")
_LISTED = 20  # series that a message names


def choose_series(
    source: Path, modality: str | None = None, name: str | None = None, option: str | None = None
) -> Series:
    """Return the only series that fits the source, the modality and the name (UID, number or description).

    What the user names wins: a file is its own series, and a named series or file of another modality (XA, OT) is
    read as the one that is asked for, which the notes of the result say; only CT and MR do not stand for each other,
    nor derived objects for images. Without a name, segmentations and other derived objects are not meant, nor is a
    series of scouts or of secondary captures beside a real one.

    Args:
        source: folder, table of contents of a medium (DICOMDIR, its folder), or one file of a series.
        modality: for example "CT" or "MR".
        name: UID, number or description, and behind it ``/stack2`` for the second stack of that series.
        option: command-line option that takes such a name, for the message.

    Raises:
        MissingPathError: The source does not exist.
        ImageReadError: None or several fit; the message lists what the folder holds.
    """
    option = option or (f"--{modality.lower()}_series" if modality in _SCANS else "--series")
    found, file = series_at(check_exists(source, "DICOM folder"))
    fitting, stack = _fitting(found, modality, name)
    if not fitting and (name is not None or file is not None):
        fitting, stack = _named_otherwise(found, modality, name)
    scans = fitting if name or file else [each for each in fitting if not (each.is_localizer or each.is_capture)]
    resent: list[str] = []
    if len(scans) > 1:
        scans, resent = without_resent(scans, source)
        joined = joined_images(scans, source)
        if joined is not None:
            found, scans = [*(each for each in found if each not in scans), joined], [joined]
    if len(scans) != 1 and len(fitting) != 1:
        raise ImageReadError(_refusal(source, found, fitting, (modality, name, option)))
    chosen = (scans if len(scans) == 1 else fitting)[0]
    for other in (each for each in fitting if each is not chosen and (each.is_localizer or each.is_capture)):
        kind = "localizer" if other.is_localizer else "secondary capture"
        logger.info("%s: %s is passed over, it is a %s", source, other, kind)
    notes = () if modality in (None, chosen.modality) else (_as_named(source, chosen, modality),)
    handle = _handle(chosen, found)
    notes = (*chosen.notes, *notes, *resent)
    return replace(chosen, stack=stack, named=file, notes=notes, handle=handle, option=option)


def series_at(source: Path) -> tuple[list[Series], Path | None]:
    """Return the series of a folder, or those of a file, and the file where it is one that names its series."""
    if source.is_dir() or is_directory_file(source):
        folder = source if source.is_dir() else source.parent
        found = find_series(folder)
        if not found:
            raise ImageReadError(f"{folder} holds no DICOM image series; name the folder with the images of one scan.")
        return found, None
    if not is_dicom_file(source):
        raise ImageReadError(f"{source} is no DICOM file, whatever its name says; name an image or its folder.")
    own = series_of([source])
    if not own:
        raise ImageReadError(f"{source} is DICOM, but holds no image; name an image of the scan, or its folder.")
    if own[0].number_of_slices > 1:  # a multi-frame file is a volume of its own, whatever lies beside it
        return own, source
    beside = [each for each in find_series(source.parent) if any(slice_.path == source for slice_ in each.slices)]
    return beside or own, source


def _fitting(found: list[Series], modality: str | None, name: str | None) -> tuple[list[Series], int]:
    """Return the series of the modality that have the name, and the number of the stack in it, 0 for none."""
    of_kind = [
        each for each in found if (each.modality == modality if modality else name or each.modality not in DERIVED)
    ]
    return _named(of_kind, name)


def _named(found: list[Series], name: str | None) -> tuple[list[Series], int]:
    named = [each for each in found if name is None or each.is_named(name)]
    match = None if name is None else _STACK.fullmatch(name.strip())
    if named or match is None:
        return named, 0
    series = match["series"] or match["other"]
    return [each for each in found if series is None or each.is_named(series)], int(match["number"] or match["place"])


def _named_otherwise(found: list[Series], modality: str | None, name: str | None) -> tuple[list[Series], int]:
    """The same of any modality that may stand for the one that is asked for."""
    other = [each for each in found if each.modality not in DERIVED and {each.modality, modality} != set(_SCANS)]
    return _named(other, name)


def _as_named(source: Path, series: Series, modality: str) -> str:
    return f"{source}: {series} is {series.modality or 'of no modality'}, and read as {modality} because it was named"


def _handle(chosen: Series, found: list[Series]) -> str:
    """The shortest name by which the series alone is chosen."""
    names = (chosen.number, chosen.uid, chosen.description)
    clear = (name for name in names if name and sum(each.is_named(name) for each in found) == 1)
    return next(clear, chosen.uid or chosen.number)


def _refusal(
    source: Path, found: list[Series], fitting: list[Series], wanted: tuple[str | None, str | None, str]
) -> str:
    modality, name, option = wanted
    what = " ".join(filter(None, (modality, "series", name)))
    several = fitting or found
    more = [f"and {len(several) - _LISTED} more"] if len(several) > _LISTED else []
    listed = "; ".join([*map(str, several[:_LISTED]), *more])
    return (
        f"{source} should hold exactly one {what}, but {len(fitting)} fit; it holds {listed}. "
        f"Name the folder or a file of one series, or its number, description or UID ({option})."
    )
