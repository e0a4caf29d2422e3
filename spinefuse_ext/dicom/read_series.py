"""DICOM series: which ones a folder holds, and one of them as a volume with its exact geometry."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import itk
import numpy as np
import pydicom
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from spinefuse_ext.validation import ImageReadError, check_exists

_TAGS = [
    "SeriesInstanceUID",
    "Modality",
    "SeriesDescription",
    "PatientID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "NumberOfFrames",
    "Rows",
    "Columns",
]
#: Modalities made from images rather than scanned; never meant when only "the series" is asked for.
_DERIVED = ("SEG", "PR", "RTDOSE", "REG")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_POSITION_TOLERANCE = 0.05  # of the slice spacing
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_DIRECTION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Series:
    """One DICOM series of image files, as its headers describe it."""

    uid: str
    modality: str
    description: str
    patient_id: str
    frame_of_reference: str
    headers: tuple[tuple[Path, Dataset], ...]

    @property
    def number_of_files(self) -> int:
        """How many files the series has in the folder."""
        return len(self.headers)

    def __str__(self) -> str:
        return f"{self.modality} '{self.description}' ({self.number_of_files} files, {self.uid})"


def find_series(folder: str | Path) -> list[Series]:
    """Return the image series in ``folder`` and below, from the headers alone, ordered by modality and UID.

    Files that are no DICOM, or DICOM without an image (directories, structure sets, reports), are passed over.
    """
    groups: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in sorted(check_exists(folder, "DICOM folder").rglob("*")):
        header = _read_header(path)
        if header is not None:
            groups[str(header.SeriesInstanceUID)].append((path, header))
    return sorted((_series(uid, tuple(files)) for uid, files in groups.items()), key=lambda s: (s.modality, s.uid))


def read_series(folder: str | Path, modality: str | None = None, uid: str | None = None) -> MetaTensor:
    """Read one series as ``(1, X, Y, Z)`` float32, HU for CT (rescale applied), RAS affine, slices in spatial order.

    Args:
        folder: Folder whose files, in any order and with any names, hold the series.
        modality: For example "CT" or "MR", when the folder holds several series.
        uid: SeriesInstanceUID, when the modality is not enough.

    Raises:
        MissingPathError: The folder does not exist.
        ImageReadError: No series, several of them, or one whose slices form no complete, evenly spaced stack.
    """
    series = _one_series(Path(folder), modality, uid)
    files, affine = _stack(series, Path(folder))
    try:
        voxels = _read_pixels(files)
    except RuntimeError as error:
        raise ImageReadError(f"{folder}: {series} cannot be decoded ({_last_line(error)}); export it again.") from error
    meta = {
        "filename_or_obj": str(folder),
        "patient_id": series.patient_id,
        "frame_of_reference": series.frame_of_reference,
        "modality": series.modality,
        "series_uid": series.uid,
        "source_files": [str(path) for path in files],
        "original_affine": affine,
        "spatial_shape": np.array(voxels.shape),
        "space": "RAS",
    }
    return MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine), meta=meta)


def _read_header(path: Path) -> Dataset | None:
    if not path.is_file():
        return None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except InvalidDicomError:
        return None
    return header if "SeriesInstanceUID" in header and "Rows" in header else None


def _series(uid: str, files: tuple[tuple[Path, Dataset], ...]) -> Series:
    first = files[0][1]
    fields = ("Modality", "SeriesDescription", "PatientID", "FrameOfReferenceUID")
    modality, description, patient, frame = (str(first.get(field, "") or "").strip() for field in fields)
    return Series(uid, modality, description, patient, frame, files)


def _one_series(folder: Path, modality: str | None, uid: str | None) -> Series:
    """Return the only series that fits; an ImageReadError lists what the folder holds otherwise."""
    found = find_series(folder)
    if not found:
        raise ImageReadError(f"{folder} holds no DICOM image series; name the folder with the .dcm files of one scan.")
    fitting = [
        series
        for series in found
        if (series.modality == modality if modality else series.modality not in _DERIVED) and uid in (None, series.uid)
    ]
    if len(fitting) != 1:
        wanted = " ".join(filter(None, (modality, "series", uid)))
        listed = "; ".join(map(str, fitting or found))
        raise ImageReadError(
            f"{folder} should hold exactly one {wanted}, but {len(fitting)} fit; it holds {listed}. "
            "Name the folder of one series, or move the other files away."
        )
    return fitting[0]


def _stack(series: Series, folder: Path) -> tuple[list[Path], NDArray[np.float64]]:
    """Return the files in spatial order and the RAS affine ``(4, 4)``, the shear of a tilted gantry included."""
    _check_headers(series, folder)
    row, column = np.array(series.headers[0][1].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    positions = np.array([header.ImagePositionPatient for _, header in series.headers], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    between_rows, between_columns = (float(value) for value in series.headers[0][1].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2] = _slice_step(positions, normal, series, folder)
    affine[:3, 3] = positions[0]
    return [series.headers[index][0] for index in order], _LPS_TO_RAS @ affine


def _check_headers(series: Series, folder: Path) -> None:
    """Raise ImageReadError unless every file is one slice and all share orientation, spacing and size."""
    first = series.headers[0][1]
    for path, header in series.headers:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise ImageReadError(f"{path} holds several frames; convert it to one file per slice, or to NIfTI.")
        missing = [tag for tag in _GEOMETRY if not header.get(tag)]
        if missing:
            raise ImageReadError(
                f"{path} has no {', '.join(missing)}, so its place in the patient is unknown; leave it out."
            )
        same = all(np.allclose(header[tag].value, first[tag].value, atol=_DIRECTION_TOLERANCE) for tag in _GEOMETRY[1:])
        if not same or (header.Rows, header.Columns) != (first.Rows, first.Columns):
            raise ImageReadError(
                f"{folder}: {path.name} has another orientation, spacing or size than {series}; leave it out."
            )


def _slice_step(
    positions: NDArray[np.float64], normal: NDArray[np.float64], series: Series, folder: Path
) -> NDArray[np.float64]:
    """Return the vector in mm from one slice to the next of sorted LPS ``positions`` ``(N, 3)``."""
    if len(positions) == 1:
        header = series.headers[0][1]
        return normal * float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)
    gaps = np.diff(positions @ normal)
    spacing = float(np.median(gaps))
    if gaps.min() <= _POSITION_TOLERANCE * max(spacing, 1e-3):
        raise ImageReadError(f"{folder}: {series} has several images at one position; keep one image per slice.")
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    strays = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(positions)), step), axis=1)
    if abs(gaps - spacing).max() > _POSITION_TOLERANCE * spacing or strays.max() > spacing / 2:
        raise ImageReadError(
            f"{folder}: slices of {series} should be {spacing:.3f} mm apart, but gaps reach from {gaps.min():.3f} to "
            f"{gaps.max():.3f} mm; a slice is missing or shifted, export the series again."
        )
    return np.asarray(step)


def _read_pixels(files: list[Path]) -> NDArray[np.float32]:
    """Decode the files in the given order, rescale applied, as ``(X, Y, Z)``; GDCM knows the compressed ones."""
    reader = itk.ImageSeriesReader[itk.Image[itk.F, 3]].New(ImageIO=itk.GDCMImageIO.New())
    reader.SetFileNames([str(path) for path in files])
    reader.Update()
    return np.ascontiguousarray(itk.array_from_image(reader.GetOutput()).T)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
