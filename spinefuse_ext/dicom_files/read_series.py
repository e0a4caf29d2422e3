"""One DICOM series of a folder as a volume with its exact geometry."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import itk
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spinefuse_ext.dicom_files.archive import named_after, opened
from spinefuse_ext.dicom_files.choose import choose_series
from spinefuse_ext.dicom_files.enhanced import stored_frames
from spinefuse_ext.dicom_files.series import Series, Slice
from spinefuse_ext.dicom_files.stack import order_slices
from spinefuse_ext.dicom_files.stored_pixels import check_stored_pixels
from spinefuse_ext.dicom_files.tilt import set_upright
from spinefuse_ext.images.ct_values import AIR_HU, correct_hounsfield
from spinefuse_ext.images.kind import standard_file
from spinefuse_ext.images.white_frame import without_frame
from spinefuse_ext.validation import ImageReadError, check_exists

logger = logging.getLogger(__name__)

_SCANS = ("CT", "MR")


def read_series(
    folder: str | Path, modality: str | None = None, uid: str | None = None, *, series: str | None = None
) -> MetaTensor:
    """Read one series as ``(1, X, Y, Z)`` float32, HU for CT (rescale applied), RAS affine, slices in spatial order.

    JPEG, JPEG-LS, JPEG 2000 and RLE compression and enhanced multi-frame files are read. The stack of a tilted gantry
    is resampled upright, padding outside the scanned circle of a CT becomes air; both are logged.

    Args:
        folder: Folder whose files, in any order and with any names, hold the series, its DICOMDIR, or a ZIP archive of
            it; or one of these files, which then says which series is meant.
        modality: For example "CT" or "MR", when the folder holds several series.
        uid: SeriesInstanceUID, when the modality is not enough.
        series: Description, number or UID of the series, when the modality is not enough; with ``/stack2`` behind it,
            the second of several stacks in it.

    Raises:
        MissingPathError: The folder does not exist.
        ImageReadError: No series, several of them, or one whose slices form no complete, evenly spaced stack, or
            several and none is named.
    """
    source = check_exists(folder, "DICOM folder")
    with opened(source) as place:
        return named_after(_read(place, source, modality, uid or series), place, source)


def _read(place: Path, folder: Path, modality: str | None, name: str | None) -> MetaTensor:
    """Read a series that stands in ``place``; sentences and ``meta`` say ``folder``."""
    chosen = choose_series(place, modality, name)
    slices, affine, notes = order_slices(chosen, folder)
    chosen, notes = replace(chosen, modality=modality or chosen.modality), [*chosen.notes, *notes]
    for sentence in notes:
        logger.warning("%s", sentence.replace(str(place), str(folder)))
    check_stored_pixels(slices)
    try:
        voxels = _read_pixels(slices)
    except (RuntimeError, ValueError) as error:
        raise ImageReadError(f"{folder}: {chosen} cannot be decoded ({_last_line(error)}); export it again.") from error
    voxels, affine, warnings = _corrected(voxels, affine, chosen, slices[0].header, folder)
    meta = {
        "filename_or_obj": str(folder),
        "patient_id": chosen.patient_id,
        "frame_of_reference": chosen.frame_of_reference,
        "modality": chosen.modality,
        "series_uid": chosen.uid,
        "source_files": list(dict.fromkeys(str(each.path) for each in slices)),
        "original_affine": affine,
        "spatial_shape": np.array(voxels.shape),
        "space": "RAS",
        "warnings": [*notes, *warnings],
    }
    return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine), meta=meta)


def _corrected(
    voxels: NDArray[np.float32], affine: NDArray[np.float64], series: Series, header: Dataset, folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    """Return the volume in HU where it is a CT, upright, and what was found, a sentence each."""
    voxels, warnings = without_frame(voxels, folder) if series.modality in _SCANS else (voxels, [])
    outside = float(voxels.min())
    if series.modality == "CT":
        voxels, found = correct_hounsfield(voxels, affine, folder, _padding(header))
        outside, warnings = AIR_HU, [*warnings, *found]
    voxels, affine, tilt_deg = set_upright(voxels, affine, outside)
    if tilt_deg:
        warnings = [*warnings, f"{folder}: the slices of {series} are tilted by {tilt_deg:.1f} degrees; set upright"]
        logger.info("%s", warnings[-1])
    return voxels, affine, warnings


def _padding(header: Dataset) -> float | None:
    """Return the value in HU that stands outside the scanned circle, if the header names it."""
    stored = header.get("PixelPaddingValue")
    if not isinstance(stored, int):
        return None
    if header.get("PixelRepresentation") == 1 and stored > np.iinfo(np.int16).max:
        stored -= 2**16  # the tag of signed pixels, written without its sign
    slope, intercept = _rescale(header)
    return stored * slope + intercept


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return float(1 if slope is None else slope), float(0 if intercept is None else intercept)


def _read_pixels(slices: list[Slice]) -> NDArray[np.float32]:
    """Decode the slices in the given order, rescale applied, as ``(X, Y, Z)``; GDCM knows the compressed ones."""
    if any(_needs_decoding(each) for each in slices):
        return _read_frames(slices)
    reader = itk.ImageSeriesReader[itk.Image[itk.F, 3]].New(ImageIO=itk.GDCMImageIO.New())
    reader.SetFileNames([str(each.path) for each in slices])
    reader.Update()
    return np.ascontiguousarray(itk.array_from_image(reader.GetOutput()).T)


def _needs_decoding(each: Slice) -> bool:
    """Whether GDCM alone would give other values, or not read the file at all."""
    inverted = each.header.get("PhotometricInterpretation") == "MONOCHROME1"
    return each.frame is not None or inverted or not standard_file(each.path)


def _read_frames(slices: list[Slice]) -> NDArray[np.float32]:
    stored = {path: stored_frames(path) for path in {each.path for each in slices}}
    frames = []
    for path, header, frame in slices:
        slope, intercept = _rescale(header)
        frames.append(stored[path][frame or 0] * slope + intercept)
    return np.ascontiguousarray(np.stack(frames).T.astype(np.float32))


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
