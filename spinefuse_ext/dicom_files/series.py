"""Which DICOM series a folder holds, from the headers alone."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID, SecondaryCaptureImageStorage

from spinefuse_ext.dicom_files.enhanced import FUNCTIONAL_GROUPS, frame_headers
from spinefuse_ext.dicom_files.read_file import read_file
from spinefuse_ext.dicom_files.telling import TELLING
from spinefuse_ext.formats import is_system_name
from spinefuse_ext.images.kind import is_dicom_file
from spinefuse_ext.validation import ImageReadError, check_exists

_TAGS = [
    "StudyInstanceUID",
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
DERIVED = ("SEG", "PR", "RTDOSE", "REG")


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
    """One DICOM series of images, as its headers describe it.

    Where it was chosen, ``stack`` is the number of the stack in it that was named (0 for none), ``named`` the file
    that was, ``notes`` what is to be said about the choice, a sentence each, ``handle`` the shortest name that chooses
    it, and ``option`` the command-line option that takes one.
    """

    uid: str
    modality: str
    description: str
    patient_id: str
    frame_of_reference: str
    slices: tuple[Slice, ...]
    number: str = ""
    stack: int = 0
    named: Path | None = None
    notes: tuple[str, ...] = ()
    handle: str = ""
    option: str = "--series"

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
        count = "1 slice" if self.number_of_slices == 1 else f"{self.number_of_slices} slices"
        facts = (number, count, self.uid)  # some anonymisers empty the UID
        return f"{self.modality} '{self.description}' ({', '.join(filter(None, facts))})"

    def is_named(self, name: str) -> bool:
        """Whether ``name`` is the UID, the number or, whatever the case, the description of the series."""
        return name in (self.uid, self.number) or name.strip().lower() == self.description.lower()


def find_series(folder: str | Path) -> list[Series]:
    """Return the image series in ``folder`` and below, from the headers alone, ordered by modality and UID.

    What is DICOM is told by content, whatever the names. Other files, DICOM without an image (directories, structure
    sets, reports), hidden files and folders and those of a system are passed over. Images without a SeriesInstanceUID
    are one series where folder, number, description and study are equal.

    Raises:
        MissingPathError: The folder does not exist.
        ImageReadError: A file begins as DICOM, but its header is damaged.
    """
    folder = check_exists(folder, "DICOM folder")
    return series_of(sorted(path for path in folder.rglob("*") if not _is_hidden(path.relative_to(folder))))


def series_of(paths: list[Path]) -> list[Series]:
    """Return the image series among some files, ordered by modality and UID; raises as ``find_series``."""
    groups: dict[tuple[str, ...], list[Slice]] = defaultdict(list)
    for path in paths:
        header = _read_header(path)
        if header is not None:
            groups[_identity(path, header)] += _slices(path, header)
    found = [_series(tuple(slices)) for slices in groups.values()]
    return sorted(found, key=lambda series: (series.modality, series.uid))


def _is_hidden(path: Path) -> bool:
    return any(is_system_name(part) for part in path.parts)


def _identity(path: Path, header: Dataset) -> tuple[str, ...]:
    """What images of one series share; files of two modalities are never one series."""
    uid, modality = _text(header, "SeriesInstanceUID"), _text(header, "Modality")
    if uid:
        return uid, modality
    others = (_text(header, name) for name in ("StudyInstanceUID", "SeriesNumber", "SeriesDescription"))
    return uid, modality, *others, str(path.parent)


def _text(header: Dataset, name: str) -> str:
    return str(header.get(name, "") or "").strip()


def _read_header(path: Path) -> Dataset | None:
    try:
        if not path.is_file() or not is_dicom_file(path):
            return None
        header = read_file(path, stop_before_pixels=True, specific_tags=[*_TAGS, *TELLING])
        for tag in _TAGS:
            header.get(tag)  # decodes every value, which pydicom puts off until it is asked for
    except InvalidDicomError:
        return None
    except OSError as error:
        raise ImageReadError(
            f"{path} cannot be read ({error.strerror or error}); see to its rights or take it away."
        ) from error
    except Exception as error:  # pydicom has one of its own for each kind of damage
        raise ImageReadError(f"{path} begins as DICOM, but its header is damaged; export it again.") from error
    _drop_undecodable(header)
    if "Rows" in header:
        return header
    kind = UID(str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID") or "")).name
    if kind.endswith("Image Storage"):
        raise ImageReadError(f"{path} ({kind}) breaks off in its header; export it again or take it away.")
    return None


def _drop_undecodable(header: Dataset) -> None:
    """Take away values that only tell images apart and cannot be decoded; the image can be read without them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in TELLING:
            if not _decodes(header, name):
                del header[Tag(name)]


def _decodes(header: Dataset, name: str | int) -> bool:
    try:
        header.get(Tag(name))
    except Exception:  # pydicom has one of its own for each kind of damage
        return False
    return True


def _slices(path: Path, header: Dataset) -> list[Slice]:
    if FUNCTIONAL_GROUPS[1] not in header or header.get("Modality") in DERIVED:
        return [Slice(path, header)]
    try:
        frames = frame_headers(header)
    except (AttributeError, IndexError) as error:
        raise ImageReadError(f"{path} lacks the place of a frame in the patient ({error}); export it again.") from error
    return [Slice(path, frame, place) for place, frame in enumerate(frames)]


def _series(slices: tuple[Slice, ...]) -> Series:
    first = slices[0].header
    fields = ("SeriesInstanceUID", "Modality", "SeriesDescription", "PatientID", "FrameOfReferenceUID", "SeriesNumber")
    uid, modality, description, patient, frame, number = (_text(first, field) for field in fields)
    return Series(uid, modality, description, patient, frame, slices, number)
