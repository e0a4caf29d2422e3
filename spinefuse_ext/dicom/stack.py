"""The slices of a series in spatial order, and the affine of their stack."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.dicom.series import Series, Slice
from spinefuse_ext.validation import ImageReadError

logger = logging.getLogger(__name__)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_POSITION_TOLERANCE = 0.05  # of the slice spacing
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_DIRECTION_DECIMALS = 3


def stack_slices(series: Series, folder: Path) -> tuple[list[Slice], NDArray[np.float64]]:
    """Return the slices in spatial order and the RAS affine ``(4, 4)``, the shear of a tilted gantry included.

    Copies of one image and localizers among other images are left out, and that is logged.

    Raises:
        ImageReadError: An image has no place, or does not lie in the stack as the others do, or a slice is missing.
    """
    slices = _without_scouts(_without_copies(series, folder), series, folder)
    _check_headers(slices, series, folder)
    first = slices[0].header
    row, column = np.array(first.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    positions = np.array([each.header.ImagePositionPatient for each in slices], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[place] for place in order], positions[order]
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2] = _slice_step(slices, positions, normal, f"{folder}: slices of {series}")
    affine[:3, 3] = positions[0]
    return slices, _LPS_TO_RAS @ affine


def _without_copies(series: Series, folder: Path) -> list[Slice]:
    kept: dict[tuple[str, ...], Slice] = {}
    for each in series.slices:  # some anonymisers empty the UIDs, or give all images one
        uid = str(each.header.get("SOPInstanceUID") or each.path)
        kept.setdefault((uid, str(each.frame), str(each.header.get("ImagePositionPatient"))), each)
    if len(kept) < len(series.slices):
        logger.info("%s: %d copies of images of %s are left out", folder, len(series.slices) - len(kept), series)
    return list(kept.values())


def _without_scouts(slices: list[Slice], series: Series, folder: Path) -> list[Slice]:
    scans = [each for each in slices if not each.is_localizer]
    if not scans or len(scans) == len(slices):
        return slices
    names = ", ".join(each.path.name for each in slices if each.is_localizer)
    logger.warning("%s: the localizer images %s of %s are left out", folder, names, series)
    return scans


def _check_headers(slices: list[Slice], series: Series, folder: Path) -> None:
    """Raise ImageReadError unless every image is one grey slice and all share orientation, spacing and size."""
    for path, header, _ in slices:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise ImageReadError(f"{path} holds several frames without their places; export it as enhanced DICOM.")
        missing = [tag for tag in _GEOMETRY if not header.get(tag)]
        if missing:
            raise ImageReadError(
                f"{path} has no {', '.join(missing)}, so its place in the patient is unknown; leave it out."
            )
        _check_grey(path, header.get("PhotometricInterpretation", "MONOCHROME2"), series)
    shapes = Counter(_shape(each) for each in slices)
    usual = shapes.most_common(1)[0][0]
    strays = [each.path.name for each in slices if _shape(each) != usual]
    if strays:
        raise ImageReadError(
            f"{folder}: {', '.join(strays[:3])} ({len(strays)} of {len(slices)} images) has another orientation, "
            f"spacing or size than {series}; leave it out."
        )


def _check_grey(path: Path, photometric: str, series: Series) -> None:
    if photometric == "MONOCHROME1" and series.modality != "CT":  # HU mean the same however they are displayed
        raise ImageReadError(f"{path} stores its grey values inverted (MONOCHROME1); export it as MONOCHROME2.")
    if not photometric.startswith("MONOCHROME"):
        raise ImageReadError(f"{path} is a colour picture ({photometric}), expected a grey scan; leave it out.")


def _shape(each: Slice) -> tuple[object, ...]:
    header = each.header
    numbers = np.array([*header.ImageOrientationPatient, *header.PixelSpacing], dtype=np.float64)
    return (*(np.round(numbers, _DIRECTION_DECIMALS) + 0.0).tolist(), header.Rows, header.Columns)


def _slice_step(
    slices: list[Slice], positions: NDArray[np.float64], normal: NDArray[np.float64], what: str
) -> NDArray[np.float64]:
    """Return the vector in mm from one slice to the next of sorted LPS ``positions`` ``(N, 3)``."""
    if len(positions) == 1:
        header = slices[0].header
        return normal * float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)
    gaps = np.diff(positions @ normal)
    spacing = float(np.median(gaps))
    if gaps.min() <= _POSITION_TOLERANCE * max(spacing, 1e-3):
        raise ImageReadError(f"{what}: several images at one position; keep one image per slice.")
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    strays = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(positions)), step), axis=1)
    if abs(gaps - spacing).max() > _POSITION_TOLERANCE * spacing or strays.max() > spacing / 2:
        raise ImageReadError(
            f"{what} should be {spacing:.3f} mm apart, but gaps reach from {gaps.min():.3f} to "
            f"{gaps.max():.3f} mm; {_irregular(gaps, spacing, slices)}, export the series again."
        )
    return np.asarray(step)


def _irregular(gaps: NDArray[np.float64], spacing: float, slices: list[Slice]) -> str:
    """Say between which files slices are missing, or that the spacing is uneven."""
    absent = np.rint(gaps / spacing).astype(int) - 1
    if abs(gaps - spacing * (absent + 1)).max() > _POSITION_TOLERANCE * spacing or not absent.any():
        return "the slices are unevenly spaced or shifted"
    holes = [f"{slices[place].path.name} and {slices[place + 1].path.name}" for place in np.flatnonzero(absent)]
    count = int(absent.sum())
    verb = "slice is" if count == 1 else "slices are"
    return f"{count} {verb} missing between {', '.join(holes[:3])}"
