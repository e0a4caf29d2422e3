"""The header of a fused image as DICOM Secondary Capture: whose it is, where it lies, what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from spinefuse_ext import __version__
from spinefuse_ext.dicom.source import Source, read_headers
from spinefuse_ext.dicom.write_series import decimal_string
from spinefuse_ext.dicom_files.series import Slice
from spinefuse_ext.dicom_files.tilt import Upright

#: Stored number that stands for 1. Whole thousands, and not a rescale slope, as viewers window no better than by ones.
TOP = 10000
_SERIES_NUMBER = 1001
_DESCRIPTION = "Fused CT and MR (research only)"
#: Of the CT, where it has them: patient, study, de-identification, and what the images show.
_COPIED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize"),
    *("PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "TimezoneOffsetFromUTC", "FrameOfReferenceUID", "PositionReferenceIndicator"),
    *("BodyPartExamined", "Laterality", "PatientPosition"),
)
#: Body parts that are no pair; of another part a validator asks the side, which a CT of the spine mostly leaves out.
_MIDDLE = (
    *("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "CTSPINE", "TLSPINE", "LSSPINE", "COCCYX", "HEAD", "NECK"),
    *("CHEST", "ABDOMEN", "PELVIS", "HEADNECK", "NECKCHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "ABDOMENPELVIS"),
)
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_SCANNER = ("ManufacturerModelName", "InstitutionName", "StationName", "DeviceSerialNumber", "SoftwareVersions")
_OBLIQUE = 0.1  # part of a direction from which a side of the patient is named
_FUSION = Code("FUSION", "99SPINEFUSE", "Fusion of images of two modalities")
_NO_UNITS = Code("1", "UCUM", "no units")


@dataclass(frozen=True)
class Origin:
    """A series that a fused image was made of, and the header of each of its files."""

    source: Source
    headers: Mapping[Path, Dataset]

    @classmethod
    def read(cls, source: Source) -> Origin:
        return cls(source, read_headers(source, "a derived series"))

    @property
    def first(self) -> Dataset:
        """Header of the first slice."""
        return self.headers[self.source.slices[0].path]

    def instance_numbers(self) -> list[int]:
        """Number of each slice: as in the series, else, where these are no clear order, from 1 along its axis."""
        given = [self.headers[each.path].get("InstanceNumber") for each in self.source.slices]
        numbers = [int(number) for number in given if number is not None]
        unique = len(set(numbers)) == len(self.source.slices)
        return numbers if unique else list(range(1, len(self.source.slices) + 1))


def shared_header(ct: Origin, mr: Origin | None) -> Dataset:
    """Return what all images of a fused series have in common, with a UID of its own; their places are left."""
    now = datetime.now()
    shared = Dataset()
    shared.SpecificCharacterSet = ct.first.SpecificCharacterSet
    for name in _COPIED:
        if name in ct.first:
            shared[name] = ct.first[name]
    if "PositionReferenceIndicator" not in shared:
        shared.PositionReferenceIndicator = ""
    part, side = shared.get("BodyPartExamined"), shared.get("Laterality")
    if part in _MIDDLE or not side:
        shared.pop("Laterality", None)
        shared.BodyPartExamined = part if part in _MIDDLE else "SPINE"
    shared.SOPClassUID, shared.Modality = SecondaryCaptureImageStorage, "OT"
    shared.ImageType = ["DERIVED", "SECONDARY"]
    shared.SeriesInstanceUID, shared.SeriesNumber = generate_uid(), _SERIES_NUMBER
    shared.SeriesDescription = _DESCRIPTION
    shared.ContentDate = shared.SeriesDate = shared.InstanceCreationDate = now.strftime("%Y%m%d")
    shared.ContentTime = shared.SeriesTime = shared.InstanceCreationTime = now.strftime("%H%M%S")
    shared.update(_equipment(ct, mr))
    shared.update(_derivation(ct, mr))
    shared.update(_display())
    return shared


def _equipment(ct: Origin, mr: Origin | None) -> Dataset:
    """This program, and as contributors the scanners."""
    made = Dataset()
    made.Manufacturer = made.ManufacturerModelName = "spinefuse"
    made.SoftwareVersions, made.DeviceSerialNumber = __version__, "none"
    made.ConversionType = "WSD"  # workstation
    made.ContributingEquipmentSequence = [_scanner(origin) for origin in _origins(ct, mr)]
    return made


def _scanner(origin: Origin) -> Dataset:
    scanner = Dataset()
    scanner.PurposeOfReferenceCodeSequence = [_code(codes.DCM.AcquisitionEquipment)]
    scanner.Manufacturer = origin.first.get("Manufacturer") or "unknown"
    for name in _SCANNER:
        if origin.first.get(name):
            scanner[name] = origin.first[name]
    scanner.ContributionDescription = f"{origin.source.series.modality} {origin.source.series.description}".strip()
    return scanner


def _derivation(ct: Origin, mr: Origin | None) -> Dataset:
    made = Dataset()
    made.DerivationDescription = (
        f"CT and MR fused by spinefuse {__version__}; the MR was resampled to the grid of the CT. "
        f"0 to {TOP} stand for 0 to 1."
    )
    made.DerivationCodeSequence = [_code(_FUSION), _code(codes.DCM.SpatialResampling)]
    made.ImageComments = f"Research, not for diagnosis. spinefuse {__version__}."
    made.BurnedInAnnotation = "NO"
    made.LossyImageCompression = "00"
    lossy = next((origin.first for origin in _origins(ct, mr) if origin.first.get(_LOSSY[0]) == "01"), Dataset())
    for name in _LOSSY:
        if name in lossy:
            made[name] = lossy[name]
    return made


def _display() -> Dataset:
    """Pixels of 16 bits, the window from 0 to 1, and what the stored numbers mean."""
    made = Dataset()
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.WindowCenter, made.WindowWidth = str(TOP // 2), str(TOP)
    made.WindowCenterWidthExplanation = "0 to 1"
    meaning = Dataset()
    meaning.LUTLabel, meaning.LUTExplanation = "FUSED", "Fused brightness, 0 to 1"
    meaning.RealWorldValueFirstValueMapped, meaning.RealWorldValueLastValueMapped = 0, TOP
    meaning.RealWorldValueIntercept, meaning.RealWorldValueSlope = 0.0, 1 / TOP
    meaning.MeasurementUnitsCodeSequence = [_code(_NO_UNITS)]
    made.RealWorldValueMappingSequence = [meaning]
    return made


def slice_header(ct: Origin, place: int, grid: Upright) -> Dataset:
    """Return where the image of one slice lies, as its CT image says it unless a tilt was taken out, and of what."""
    each = ct.source.slices[place]
    corner = np.diag([-1, -1, 1]) @ (grid.affine[:3, 3] + place * grid.affine[:3, 2])
    made = Dataset()
    made.ImagePositionPatient = _decimals(corner if grid.drift.any() else each.header.ImagePositionPatient)
    made.ImageOrientationPatient = _decimals(each.header.ImageOrientationPatient)
    directions = np.array(each.header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    made.PatientOrientation = [_letters(direction) for direction in directions]
    made.PixelSpacing = _decimals(each.header.PixelSpacing)
    made.SpacingBetweenSlices = decimal_string(float(np.linalg.norm(grid.affine[:3, 2])))
    made.SliceThickness = decimal_string(float(each.header.get("SliceThickness") or made.SpacingBetweenSlices))
    made.SourceImageSequence = [_source_image(ct, each, same_place=True)]
    made.ReferencedSeriesSequence = [_series(ct, [each])]
    return made


def _letters(direction: NDArray[np.float64]) -> str:
    """Return the sides of the patient to which a direction in LPS leads, the main one first, for example "PH"."""
    names = np.where(direction > 0, list("LPH"), list("RAF"))
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(str(names[axis]) for axis in order if abs(direction[axis]) > _OBLIQUE)


def mr_references(ct: Origin, mr: Origin) -> Dataset:
    """Return what refers to all images of the MR, in the study of the CT or in another."""
    made = Dataset()
    made.SourceImageSequence = [_source_image(mr, each, same_place=False) for each in mr.source.slices]
    series = _series(mr, mr.source.slices)
    if mr.first.StudyInstanceUID == ct.first.StudyInstanceUID:
        made.ReferencedSeriesSequence = [series]
    else:
        study = Dataset()
        study.StudyInstanceUID, study.ReferencedSeriesSequence = mr.first.StudyInstanceUID, [series]
        made.StudiesContainingOtherReferencedInstancesSequence = [study]
    return made


def _source_image(origin: Origin, each: Slice, *, same_place: bool) -> Dataset:
    item = _instance(origin, each)
    item.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
    item.SpatialLocationsPreserved = "YES" if same_place else "NO"
    return item


def _series(origin: Origin, slices: Sequence[Slice]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = origin.first.SeriesInstanceUID
    files = {each.path: each._replace(frame=None) for each in slices}
    item.ReferencedInstanceSequence = [_instance(origin, each) for each in files.values()]
    return item


def _instance(origin: Origin, each: Slice) -> Dataset:
    header = origin.headers[each.path]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if each.frame is not None:
        item.ReferencedFrameNumber = each.frame + 1
    return item


def _decimals(values: Iterable[float]) -> list[str]:
    return [decimal_string(value) for value in values]


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _origins(ct: Origin, mr: Origin | None) -> Iterable[Origin]:
    return (ct,) if mr is None else (ct, mr)
