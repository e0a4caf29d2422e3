"""What a DICOM SEG says, from its tags and bits alone: which structures, how many voxels, where in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from spinefuse_ext.dicom_files.enhanced import FUNCTIONAL_GROUPS
from spinefuse_ext.images.stored_image import LPS_TO_RAS
from spinefuse_ext.validation import ImageReadError, check_exists


@dataclass(frozen=True)
class Segment:
    """One segment of a DICOM SEG.

    Args:
        number: from 1, as the file counts.
        label: its name in the file.
        code: code value of the structure, in SNOMED CT where the file uses it.
        voxels: how many belong to it.
        centroid_mm: mean of their centres ``(3,)``, RAS mm; NaN without a voxel.
        frame_of_reference: UID of the space that the centroid is in.
    """

    number: int
    label: str
    code: str
    voxels: int
    centroid_mm: NDArray[np.float64]
    frame_of_reference: str


def read_seg(path: str | Path) -> list[Segment]:
    """Read the segments of a binary DICOM SEG, in the order of the file.

    Every frame is placed by its own position, orientation and spacing, so that no order of frames is taken for granted.

    Raises:
        MissingPathError: the file does not exist.
        ImageReadError: the file is no DICOM SEG, is cut off, compressed or not binary, or a frame has no place.
    """
    path = check_exists(path, "The DICOM SEG")
    try:
        file = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise ImageReadError(f"{path} is no DICOM file; name a DICOM SEG.") from error
    if file.get("Modality") != "SEG" or file.get("SegmentationType") != "BINARY":
        kind = file.get("SegmentationType") or file.get("Modality")
        raise ImageReadError(f"{path} should be a DICOM SEG of the type BINARY, but is {kind}; export it as one.")
    try:
        return _segments(file)
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        raise ImageReadError(f"{path} is no whole DICOM SEG ({error}); export it again.") from error


def _segments(file: pydicom.FileDataset) -> list[Segment]:
    shared, frames = (file[name].value for name in FUNCTIONAL_GROUPS)
    sums: dict[int, NDArray[np.float64]] = {}
    for frame, bits in zip(frames, _frames(file), strict=True):
        identified = functional_group("SegmentIdentificationSequence", frame, shared)
        number = int(identified.ReferencedSegmentNumber)
        sums[number] = sums.get(number, np.zeros(4)) + _weight(bits, frame, shared)
    found = []
    for each in file.SegmentSequence:
        *moment, voxels = sums.get(int(each.SegmentNumber), np.zeros(4))
        centroid = np.array(moment) / voxels if voxels else np.full(3, np.nan)
        code = str(each.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        frame_of_reference = str(file.get("FrameOfReferenceUID", ""))
        found.append(
            Segment(int(each.SegmentNumber), str(each.SegmentLabel), code, int(voxels), centroid, frame_of_reference)
        )
    return found


def _frames(file: pydicom.FileDataset) -> NDArray[np.uint8]:
    """Return ``(frames, rows, columns)``: one bit a pixel, packed without a gap, lowest bit first (PS3.5, 8.1.1)."""
    if file.file_meta.TransferSyntaxUID.is_compressed:
        raise ValueError("it is compressed")
    shape = (int(file.NumberOfFrames), int(file.Rows), int(file.Columns))
    bits = np.unpackbits(np.frombuffer(file.PixelData, np.uint8), bitorder="little")
    return bits[: int(np.prod(shape))].reshape(shape)


def _weight(bits: NDArray[np.uint8], frame: Dataset, shared: Any) -> NDArray[np.float64]:
    """Return the sum of the places (RAS mm) of the pixels that are set in a frame, and their number, ``(4,)``."""
    rows, columns = np.nonzero(bits)
    corner = np.array(functional_group("PlanePositionSequence", frame, shared).ImagePositionPatient, dtype=np.float64)
    axes = np.array(
        functional_group("PlaneOrientationSequence", frame, shared).ImageOrientationPatient, dtype=np.float64
    )
    between_rows, between_columns = map(float, functional_group("PixelMeasuresSequence", frame, shared).PixelSpacing)
    along_row, down_column = axes[:3] * between_columns, axes[3:] * between_rows
    moment = corner * len(rows) + along_row * columns.sum() + down_column * rows.sum()
    return np.append(moment * LPS_TO_RAS.diagonal()[:3], len(rows))


def functional_group(name: str, frame: Dataset, shared: Any) -> Dataset:
    """Return the functional group of a frame, its own before the one that all share."""
    found = frame.get(name) or shared[0].get(name)
    if not found:
        raise ValueError(f"a frame has no {name}")
    return found[0]
