"""The slices of a series in spatial order, and the affine of their stack."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.divide import Group, Part, divided
from spinefuse_ext.dicom_files.placed import Placed, placed
from spinefuse_ext.dicom_files.series import Series, Slice
from spinefuse_ext.dicom_files.spacing import slice_step
from spinefuse_ext.dicom_files.telling import MOSAIC_IMAGES, value_of
from spinefuse_ext.images.stored_image import LPS_TO_RAS
from spinefuse_ext.validation import ImageReadError

_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_LISTED = 12  # stacks that a message names
_FEW = 3  # images of a stack that a message names


class Stack(NamedTuple):
    """Slices in spatial order, the RAS affine ``(4, 4)`` of their stack, and what was left out, a sentence each."""

    slices: list[Slice]
    affine: NDArray[np.float64]
    notes: list[str]


def order_slices(series: Series, folder: Path) -> Stack:
    """Return the stack that is meant, the shear of a tilted gantry included in its affine.

    Copies of an image and localizers among other images are left out. Where the series holds several stacks, the one
    whose number it was chosen with is meant, or the one with the file it was named by.

    Raises:
        ImageReadError: An image has no place, or does not lie in the stack as the others do, or a slice is missing;
            or there are several stacks and none is named: the message lists them.
    """
    slices, notes = _without_scouts(series, folder)
    for each in slices:
        _check_header(each, series)
    groups, copies = divided([placed(each) for each in slices])
    if copies:
        names = ", ".join(sorted(dict.fromkeys(image.slice.path.name for image in copies))[:_FEW])
        count = "1 copy of an image" if len(copies) == 1 else f"{len(copies)} copies of images"
        notes.append(f"{folder}: left out of {series}: {count}, with equal pixels at an equal place ({names})")
    part, about = _meant(series, groups, folder)
    images = part.images
    affine = np.eye(4)
    affine[:3, :2] = np.median([image.steps for image in images], axis=0)
    affine[:3, 2], said = _step(images, series, folder)
    affine[:3, 3] = images[0].corner
    return Stack([image.slice for image in images], LPS_TO_RAS @ affine, [*notes, *about, *said])


def _without_scouts(series: Series, folder: Path) -> tuple[list[Slice], list[str]]:
    scouts = [each for each in series.slices if each.is_localizer]
    scans = [each for each in series.slices if not each.is_localizer]
    if any(each.path == series.named for each in scouts):
        return scouts, []
    if not scans or not scouts:
        return list(series.slices), []
    names = ", ".join(each.path.name for each in scouts)
    return scans, [f"{folder}: the localizer images {names} of {series} are left out"]


def _check_header(each: Slice, series: Series) -> None:
    """Raise ImageReadError unless the image is one grey slice with a place."""
    path, header, _ = each
    if "MOSAIC" in (header.get("ImageType") or ()) or value_of(header, MOSAIC_IMAGES) not in ("", "0", "1"):
        raise ImageReadError(
            f"{path} is a Siemens mosaic, which holds all slices of a volume in one picture; convert {series} with "
            "dcm2niix and give the NIfTI file, or export it as enhanced DICOM."
        )
    if int(header.get("NumberOfFrames", 1) or 1) > 1:
        raise ImageReadError(f"{path} holds several frames without their places; export it as enhanced DICOM.")
    missing = [tag for tag in _GEOMETRY if not header.get(tag)]
    if missing:
        raise ImageReadError(
            f"{path} has no {', '.join(missing)}, so its place in the patient is unknown; leave it out."
        )
    _check_grey(path, header.get("PhotometricInterpretation", "MONOCHROME2"), series)


def _check_grey(path: Path, photometric: str, series: Series) -> None:
    if photometric == "MONOCHROME1" and series.modality != "CT":  # HU mean the same however they are displayed
        raise ImageReadError(f"{path} stores its grey values inverted (MONOCHROME1); export it as MONOCHROME2.")
    if not photometric.startswith("MONOCHROME"):
        raise ImageReadError(f"{path} is a colour picture ({photometric}), expected a grey scan; leave it out.")


def _meant(series: Series, groups: list[Group], folder: Path) -> tuple[Part, list[str]]:
    """Return the stack that is meant and, where there are others, a sentence on the choice."""
    parts = [part for group in groups for part in group.parts]
    chosen = {number: part for number, part in enumerate(parts, 1) if number == series.stack or len(parts) == 1}
    if series.stack and series.stack not in range(1, len(parts) + 1):
        chosen = {}
    elif not chosen and series.named is not None:
        chosen = {number: part for number, part in enumerate(parts, 1) if _holds(part, series.named)}
    if len(chosen) != 1:
        raise ImageReadError(_choice(series, groups, folder))
    ((number, part),) = chosen.items()
    if len(parts) == 1:
        return part, []
    return part, [f"{folder}: of the {len(parts)} stacks of {series}, {series.handle}/stack{number} was read ({part})"]


def _holds(part: Part, path: Path) -> bool:
    return any(image.slice.path == path for image in part.images)


def _choice(series: Series, groups: list[Group], folder: Path) -> str:
    """Say that there are several stacks, or not the one that was named, and how to name one of them."""
    parts = [part for group in groups for part in group.parts]
    names = [f"{series.handle}/stack{number} ({_told(part)})" for number, part in enumerate(parts, 1)]
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    listed = f"{len(parts)} stacks: {'; '.join([*names[:_LISTED], *more])}"
    fault = None if series.stack else _fault(series, groups, folder)
    sentence = f"{fault} Or read a part of it, of {listed}." if fault else f"{folder}: {series} holds {listed}."
    if series.stack:
        sentence = f"{folder}: {series} has no stack {series.stack}; it holds {listed}."
    return f"{sentence} Name one in place of the series, for example {series.option} {series.handle}/stack1."


def _fault(series: Series, groups: list[Group], folder: Path) -> str | None:
    """What keeps the images from being one stack, where that looks like a mistake rather than several stacks."""
    if len(groups) == 1 and not any(part.facts for part in groups[0].parts):
        try:
            slice_step(groups[0].images, f"{folder}: slices of {series}")
        except ImageReadError as error:
            return str(error)
    usual = max(groups, key=lambda group: len(group.images))
    strays = [image.slice.path.name for group in groups if group is not usual for image in group.images]
    if not 0 < len(strays) <= min(_FEW, len(usual.images) // 2):
        return None
    total = len(strays) + len(usual.images)
    return (
        f"{folder}: {', '.join(strays)} ({len(strays)} of {total} images) has another orientation, spacing or size "
        f"than {series}; leave it out."
    )


def _told(part: Part) -> str:
    names = list(dict.fromkeys(image.slice.path.name for image in part.images))
    if len(names) < _FEW:
        return f"{part}: {' and '.join(names)}"
    return f"{part}: {names[0]} to {names[-1]}"


def _step(images: list[Placed], series: Series, folder: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Return the vector from slice to slice, that of a single slice along its normal, and what was assumed."""
    if len(images) > 1:
        return slice_step(images, f"{folder}: slices of {series}"), []
    header = images[0].slice.header
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    said = [] if thickness else [f"{folder}: {series} is a single slice of unknown thickness, taken to be 1 mm"]
    return images[0].normal * abs(float(thickness or 1.0)), said
