"""A volume as a DICOM series of single-frame CT or MR images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.utils import look_up_option
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset, validate_file_meta
from pydicom.valuerep import format_number_as_ds

from spinefuse_ext.files import atomic_folder

_STORAGE = {"CT": uid.CTImageStorage, "MR": uid.MRImageStorage}
_INTERCEPT = {"CT": -1024, "MR": 0}
#: What each kind of image must carry beside the modules that both share (DICOM PS3.3, A.3 and A.4).
_MODULES: dict[str, dict[str, Any]] = {
    "CT": {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "KVP": "120", "RescaleType": "HU"},
    "MR": {
        "ImageType": ["DERIVED", "PRIMARY", "OTHER"],
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "3500",
        "EchoTime": "100",
        "EchoTrainLength": "16",
    },
}


@dataclass(frozen=True)
class StudyHeader:
    """Patient and study that a series belongs to; equal headers give one StudyInstanceUID."""

    patient_id: str
    patient_name: str
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = "20260101"
    study_time: str = "120000"
    study_id: str = "1"
    study_description: str = ""
    body_part: str = "LSPINE"

    @property
    def study_uid(self) -> str:
        return _uid("study", self.patient_id, self.study_date, self.study_time, self.study_id)


@dataclass(frozen=True)
class _Slices:
    """Stored pixels ``(slices, rows, columns)`` uint16 and where they lie, LPS mm."""

    pixels: NDArray[np.uint16]
    affine_lps: NDArray[np.float64]
    intercept: int


def write_series(
    image: MetaTensor,
    folder: str | Path,
    *,
    modality: str,
    study: StudyHeader,
    series_number: int = 1,
    series_description: str = "",
    frame_of_reference: str | None = None,
) -> Path:
    """Write ``(1, X, Y, Z)`` with an RAS affine as one file per slice (last axis) into ``folder``; returns it.

    Values are rounded to whole numbers: HU from -1024 up for ``modality`` "CT" (rescale intercept -1024), 0 to 65535
    for "MR". In-plane axes are flipped where needed so that viewers show the picture upright; the geometry stays. UIDs
    follow from the header, the geometry and the pixels, so writing twice gives the same files. A series gets a frame of
    reference of its own unless the UID of another is given.

    Raises:
        ValueError: for another shape, an unknown modality, axes that are not at right angles, or values out of range.
    """
    look_up_option(modality, set(_STORAGE))
    slices = _slices(image, modality)
    content = hashlib.sha256(slices.pixels.tobytes() + np.round(slices.affine_lps, 6).tobytes()).hexdigest()
    series_uid = _uid("series", study.study_uid, modality, str(series_number), content)
    shared = _shared(slices, modality, study)
    shared.SeriesInstanceUID = series_uid
    shared.SeriesNumber = series_number
    shared.SeriesDescription = series_description
    shared.FrameOfReferenceUID = frame_of_reference or _uid("frame", series_uid)
    with atomic_folder(folder) as temporary:
        for number, single in _instances(slices, shared):
            save_instance(single, temporary / f"{modality}_{number:04d}.dcm")
    return Path(folder)


def _slices(image: MetaTensor, modality: str) -> _Slices:
    """Check the image, set it upright and turn its values into stored pixels."""
    if image.ndim != 4 or image.shape[0] != 1:
        raise ValueError(f"Expected an image (1, X, Y, Z), got {tuple(image.shape)}.")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=np.float64)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise ValueError(
            "Expected axes at right angles, which DICOM needs, got a sheared affine; resample the image first."
        )
    values, affine = _upright(np.rint(image[0].cpu().numpy()), affine)
    stored = values - _INTERCEPT[modality]
    if stored.min() < 0 or stored.max() > np.iinfo(np.uint16).max:
        low, high = _INTERCEPT[modality], _INTERCEPT[modality] + np.iinfo(np.uint16).max
        raise ValueError(f"Expected {modality} values from {low} to {high}, got {values.min():g} to {values.max():g}.")
    pixels = np.ascontiguousarray(stored.astype(np.uint16).transpose(2, 1, 0))  # slices x rows x columns
    return _Slices(pixels, affine, _INTERCEPT[modality])


def _upright(values: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Flip the two in-plane axes so that they run towards left, posterior or the feet (``affine`` in LPS)."""
    wanted = np.asarray([1.0, 1.0, -1.0])
    affine = affine.copy()
    for axis in (0, 1):
        main = int(np.abs(affine[:3, axis]).argmax())
        if affine[main, axis] * wanted[main] < 0:
            values = np.flip(values, axis)
            affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
            affine[:3, axis] *= -1
    return values, affine


def _shared(slices: _Slices, modality: str, study: StudyHeader) -> Dataset:
    """All that the slices of a series have in common, its UIDs apart."""
    spacing = np.linalg.norm(slices.affine_lps[:3, :3], axis=0)
    axes = slices.affine_lps[:3, :3] / spacing
    common = Dataset()
    common.update(_header(study))
    for name, value in _MODULES[modality].items():
        setattr(common, name, value)
    common.SOPClassUID = _STORAGE[modality]
    common.Modality = modality
    common.PatientPosition = "HFS"
    common.ImageOrientationPatient = [decimal_string(value) for value in (*axes[:, 0], *axes[:, 1])]
    common.PixelSpacing = [decimal_string(spacing[1]), decimal_string(spacing[0])]  # between rows, then between columns
    common.SliceThickness = decimal_string(spacing[2])
    common.Rows, common.Columns = slices.pixels.shape[1:]
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    common.BitsAllocated, common.BitsStored, common.HighBit, common.PixelRepresentation = 16, 16, 15, 0
    if modality == "CT":
        common.RescaleSlope, common.RescaleIntercept = "1", str(slices.intercept)
        common.WindowCenter, common.WindowWidth = "300", "1800"
    else:
        common.SpacingBetweenSlices = decimal_string(spacing[2])
    return common


def _header(study: StudyHeader) -> Dataset:
    """Patient, study and equipment modules."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientID, header.PatientName = study.patient_id, study.patient_name
    header.PatientBirthDate, header.PatientSex = study.patient_birth_date, study.patient_sex
    header.StudyInstanceUID, header.StudyID = study.study_uid, study.study_id
    header.StudyDate = header.SeriesDate = header.ContentDate = study.study_date
    header.StudyTime = header.SeriesTime = header.ContentTime = study.study_time
    header.StudyDescription = study.study_description
    header.AccessionNumber = header.ReferringPhysicianName = header.PositionReferenceIndicator = ""
    header.BodyPartExamined = study.body_part
    header.Manufacturer, header.ManufacturerModelName = "spinefuse", "spinefuse"
    header.AcquisitionNumber = 1
    return header


def _instances(slices: _Slices, shared: Dataset) -> Iterator[tuple[int, Dataset]]:
    """Every slice as a complete data set, numbered from 1."""
    for place, pixels in enumerate(slices.pixels):
        single = Dataset()
        single.update(shared)
        single.InstanceNumber = place + 1
        single.SOPInstanceUID = _uid("image", shared.SeriesInstanceUID, str(place))
        corner = slices.affine_lps[:3, 3] + place * slices.affine_lps[:3, 2]
        single.ImagePositionPatient = [decimal_string(value) for value in corner]
        single.PixelData = pixels.tobytes()
        single["PixelData"].VR = "OW"
        yield place + 1, single


def save_instance(single: Dataset, path: Path) -> None:
    """Write a data set with its pixels as a DICOM file, Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = single.SOPClassUID, single.SOPInstanceUID
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    validate_file_meta(meta, enforce_standard=True)
    meta.FileMetaInformationGroupLength = 0  # written only if present; the writer puts in the true length
    file = FileDataset(
        str(path), single, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    file.save_as(str(path))


def decimal_string(value: float) -> str:
    """A decimal string of at most 16 characters, without a negative zero."""
    return format_number_as_ds(float(value) + 0.0)


def _uid(*words: str) -> str:
    return str(uid.generate_uid(entropy_srcs=list(words)))
