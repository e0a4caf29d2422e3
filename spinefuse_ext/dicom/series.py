"""Which DICOM series a folder holds, from the headers alone, and the one of them that is meant."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, SecondaryCaptureImageStorage

from spinefuse_ext.dicom.enhanced import FUNCTIONAL_GROUPS, frame_headers
from spinefuse_ext.validation import ImageReadError, check_exists

logger = logging.getLogger(__name__)

_TAGS = [
    "SeriesInstanceUID",
    "SeriesNumber",
    "SOPInstanceUID",
    "SOPClassUID",
    "ImageType",
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
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    *FUNCTIONAL_GROUPS,
]
#: Modalities made from images rather than scanned; never meant when only "the series" is asked for.
_DERIVED = ("SEG", "PR", "RTDOSE", "REG")


class Slice(NamedTuple):
    """One image: its file, its header and, in a file of many, which frame it is (from 0)."""

    path: Path
    header: Dataset
    frame: int | None = None

    @property
    def is_localizer(self) -> bool:
        """Whether the header calls the image a scout on which the scan was planned."""
        return "LOCALIZER" in (self.header.get("ImageType") or ())


@dataclass(frozen=True)
class Series:
    """One DICOM series of images, as its headers describe it."""

    uid: str
    modality: str
    description: str
    patient_id: str
    frame_of_reference: str
    slices: tuple[Slice, ...]
    number: str = ""

    @property
    def number_of_files(self) -> int:
        """How many files the series has in the folder."""
        return len({each.path for each in self.slices})

    @property
    def number_of_slices(self) -> int:
        """How many images the series has, the frames of multi-frame files counted one by one."""
        return len(self.slices)

    @property
    def is_localizer(self) -> bool:
        """Whether every image of the series is a scout."""
        return all(each.is_localizer for each in self.slices)

    @property
    def is_capture(self) -> bool:
        """Whether a program made the series, as the fused one is made, and says so by its class (Secondary Capture)."""
        return self.slices[0].header.get("SOPClassUID") == SecondaryCaptureImageStorage

    def __str__(self) -> str:
        number = f"number {self.number}" if self.number else ""
        facts = (number, f"{self.number_of_slices} slices", self.uid)  # some anonymisers empty the UID
        return f"{self.modality} '{self.description}' ({', '.join(filter(None, facts))})"

    def is_named(self, name: str) -> bool:
        """Whether ``name`` is the UID, the number or, whatever the case, the description of the series."""
        return name in (self.uid, self.number) or name.strip().lower() == self.description.lower()


def find_series(folder: str | Path) -> list[Series]:
    """Return the image series in ``folder`` and below, from the headers alone, ordered by modality and UID.

    Files that are no DICOM, or DICOM without an image (directories, structure sets, reports), are passed over.

    Raises:
        MissingPathError: The folder does not exist.
        ImageReadError: A file begins as DICOM, but its header is damaged.
    """
    groups: dict[str, list[Slice]] = defaultdict(list)
    for path in sorted(check_exists(folder, "DICOM folder").rglob("*")):
        header = _read_header(path)
        if header is not None:
            groups[str(header.SeriesInstanceUID)] += _slices(path, header)
    found = [_series(uid, tuple(slices)) for uid, slices in groups.items()]
    return sorted(found, key=lambda series: (series.modality, series.uid))


def choose_series(folder: Path, modality: str | None = None, name: str | None = None) -> Series:
    """Return the only series of the folder that fits the modality and the name (UID, number or description).

    Without a name, segmentations and other derived objects are not meant, nor is a series of scouts or of secondary
    captures beside a real one.

    Raises:
        ImageReadError: None or several fit; the message lists what the folder holds.
    """
    found = find_series(folder)
    if not found:
        raise ImageReadError(f"{folder} holds no DICOM image series; name the folder with the .dcm files of one scan.")
    fitting = [
        series
        for series in found
        if (series.modality == modality if modality else name or series.modality not in _DERIVED)
        and (name is None or series.is_named(name))
    ]
    scans = fitting if name else [series for series in fitting if not (series.is_localizer or series.is_capture)]
    if len(scans) == 1:
        for other in (series for series in fitting if series not in scans):
            kind = "localizer" if other.is_localizer else "secondary capture"
            logger.info("%s: %s is passed over, it is a %s", folder, other, kind)
        return scans[0]
    if len(fitting) != 1:
        wanted = " ".join(filter(None, (modality, "series", name)))
        option = f" (--{modality.lower()}_series of register)" if modality in ("CT", "MR") else ""
        listed = "; ".join(map(str, fitting or found))
        raise ImageReadError(
            f"{folder} should hold exactly one {wanted}, but {len(fitting)} fit; it holds {listed}. "
            f"Name the folder of one series, or its number, description or UID{option}."
        )
    return fitting[0]


def _read_header(path: Path) -> Dataset | None:
    if not path.is_file():
        return None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        list(header)  # decodes every value, which pydicom puts off until it is asked for
    except InvalidDicomError:
        return None
    except Exception as error:  # pydicom has one of its own for each kind of damage
        raise ImageReadError(f"{path} begins as DICOM, but its header is damaged; export it again.") from error
    if "SeriesInstanceUID" in header and "Rows" in header:
        return header
    kind = UID(str(header.file_meta.get("MediaStorageSOPClassUID") or "")).name
    if kind.endswith("Image Storage"):
        raise ImageReadError(f"{path} ({kind}) breaks off in its header; export it again or take it away.")
    return None


def _slices(path: Path, header: Dataset) -> list[Slice]:
    if FUNCTIONAL_GROUPS[1] not in header or header.get("Modality") in _DERIVED:
        return [Slice(path, header)]
    try:
        frames = frame_headers(header)
    except (AttributeError, IndexError) as error:
        raise ImageReadError(f"{path} lacks the place of a frame in the patient ({error}); export it again.") from error
    return [Slice(path, frame, place) for place, frame in enumerate(frames)]


def _series(uid: str, slices: tuple[Slice, ...]) -> Series:
    first = slices[0].header
    fields = ("Modality", "SeriesDescription", "PatientID", "FrameOfReferenceUID", "SeriesNumber")
    modality, description, patient, frame, number = (str(first.get(field, "") or "").strip() for field in fields)
    return Series(uid, modality, description, patient, frame, slices, number)
