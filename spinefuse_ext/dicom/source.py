"""The DICOM series that a derived object refers to: its images in order, its grid, and headers fit to be copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.archive import opened
from spinefuse_ext.dicom_files.choose import choose_series
from spinefuse_ext.dicom_files.read_file import read_file
from spinefuse_ext.dicom_files.series import Series, Slice
from spinefuse_ext.dicom_files.stack import order_slices
from spinefuse_ext.validation import SourceError, check_exists

_UNICODE = "ISO_IR 192"
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
#: May be empty in a derived object, but must be there, and is not in every source (DICOM PS3.3, type 2).
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class Source:
    """A series that others refer to: slices in the order of the last axis, RAS affine ``(4, 4)`` of their stack."""

    series: Series
    folder: Path
    slices: list[Slice]
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        header = self.slices[0].header
        return int(header.Columns), int(header.Rows), len(self.slices)

    @property
    def paths(self) -> list[Path]:
        """Its files, each once."""
        return list(dict.fromkeys(each.path for each in self.slices))

    def grid(self) -> MetaTensor:
        """Its grid as an empty image ``(1, X, Y, Z)`` that takes no memory."""
        return MetaTensor(torch.zeros(1).expand(1, *self.shape), affine=torch.from_numpy(self.affine))

    def __str__(self) -> str:
        return f"{self.series} in {self.folder}"


def find_source(
    source: str | Path, modality: str | None = None, name: str | None = None, option: str | None = None
) -> Source:
    """Choose one series of a folder, or that of a file, and put its images in order; ``option`` takes its name.

    Raises:
        MissingPathError: the path does not exist.
        ImageReadError: the folder holds no one such series, or its images form no stack.
    """
    source = check_exists(source, "The DICOM series")
    folder = source if source.is_dir() else source.parent
    series = choose_series(source, modality, name, option)
    slices, affine, _ = order_slices(series, folder)
    return Source(series, folder, slices, affine)


@contextmanager
def opened_source(
    source: str | Path, modality: str | None = None, name: str | None = None, option: str | None = None
) -> Iterator[Source]:
    """Yield what ``find_source`` returns, with the files of a ZIP archive unpacked for as long as they are needed."""
    path = check_exists(source, "The DICOM series")
    with opened(path) as place:
        found = find_source(place, modality, name, option)
        yield found if place == path else replace(found, folder=path)


def read_headers(source: Source, derived: str) -> dict[Path, pydicom.Dataset]:
    """Read the header of each file, without pixels and in Unicode, and check what ``derived`` must refer to.

    Raises:
        SourceError: an image lacks its UIDs or its frame of reference, or several images have one UID.
    """
    headers: dict[Path, pydicom.Dataset] = {}
    for path in source.paths:
        header = read_file(path, stop_before_pixels=True)
        missing = [name for name in _NEEDED if not header.get(name)]
        if missing:
            raise SourceError(f"{path} has no {', '.join(missing)}, to which {derived} must refer; export it again.")
        header.decode()
        header.SpecificCharacterSet = _UNICODE  # highdicom knows one set at a time, and no empty tag
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
        headers[path] = header
    if len({header.SOPInstanceUID for header in headers.values()}) < len(headers):
        raise SourceError(
            f"{source}: several images have one SOPInstanceUID, so none can be referred to; export it again."
        )
    return headers
