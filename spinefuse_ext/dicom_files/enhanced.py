"""Enhanced multi-frame DICOM: the header of each frame as if it were a file of its own, and the stored pixels."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

from spinefuse_ext.dicom_files.read_file import read_file

#: Where an enhanced header keeps what all frames share, and what each has of its own.
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}
#: Where stands what tells the frames of one place apart; see ``telling``.
_TELLING = {
    "FrameContentSequence": ("StackID", "TemporalPositionIndex"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRDiffusionSequence": ("DiffusionBValue",),
    "MRImageFrameTypeSequence": ("FrameType", "ComplexImageComponent"),
    "CTImageFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime",),
}
_GRADIENT = ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation")
_IMAGE_PIXEL = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
#: A class without rescaling and geometry, so that a decoder gives back the stored values of every frame.
_MULTI_FRAME_WORD = UID("1.2.840.10008.5.1.4.1.1.7.3")
_MULTI_FRAME_BYTE = UID("1.2.840.10008.5.1.4.1.1.7.2")


def frame_headers(header: Dataset) -> list[Dataset]:
    """Return one flat header per frame: the file's own tags, with place, spacing and rescaling of that frame."""
    shared, frames = (header.get(name) or [] for name in FUNCTIONAL_GROUPS)
    plain = Dataset()
    plain.update(
        {element.tag: element for element in header if element.keyword not in (*FUNCTIONAL_GROUPS, "NumberOfFrames")}
    )
    return [_frame_header(plain, frame, shared[0] if len(shared) else Dataset()) for frame in frames]


def stored_frames(path: Path) -> NDArray[np.float32]:
    """Return the stored values ``(frames, rows, columns)`` of a multi-frame file, before any rescaling.

    Values that are to be displayed inverted (MONOCHROME1) come as they are stored; GDCM would invert them.

    Raises:
        RuntimeError: GDCM cannot decode the pixels.
    """
    source = read_file(path)
    plain = Dataset()
    plain.update({element.tag: element for element in (source[name] for name in _IMAGE_PIXEL if name in source)})
    plain.NumberOfFrames, plain.PhotometricInterpretation = source.get("NumberOfFrames", 1), "MONOCHROME2"
    plain.SOPClassUID = _MULTI_FRAME_WORD if source.BitsAllocated > 8 else _MULTI_FRAME_BYTE
    plain.SOPInstanceUID = generate_uid()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "frames.dcm"
        _save(plain, source.file_meta.TransferSyntaxUID, copy)
        reader = itk.ImageFileReader[itk.Image[itk.F, 3]].New(ImageIO=itk.GDCMImageIO.New(), FileName=str(copy))
        reader.Update()
        return np.array(itk.array_from_image(reader.GetOutput()))


def _frame_header(plain: Dataset, frame: Dataset, shared: Dataset) -> Dataset:
    header = Dataset()
    header.update(plain)
    for sequence, names in (*_GROUPS.items(), *_TELLING.items()):
        group = _group(sequence, frame, shared)
        for name in names:
            if name in group:
                header[name] = group[name]
    first, second, name = _GRADIENT
    direction = (_group(first, frame, shared).get(second) or [Dataset()])[0]
    if name in direction:
        header[name] = direction[name]
    return header


def _group(sequence: str, frame: Dataset, shared: Dataset) -> Dataset:
    """Return a functional group of a frame, its own before the one that all share; empty where neither has it."""
    groups: Any = frame.get(sequence) or shared.get(sequence) or []
    return groups[0] if len(groups) else Dataset()


def _save(plain: Dataset, syntax: UID, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = plain.SOPClassUID, plain.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    little, implicit = syntax.is_little_endian, syntax.is_implicit_VR
    file = FileDataset(
        str(path), plain, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=implicit, is_little_endian=little
    )
    file.save_as(str(path))
