"""A series of single images as the one multi-frame file that newer scanners write."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.uid import EnhancedCTImageStorage


def as_enhanced(series: Path, folder: Path) -> Path:
    """One multi-frame file of a series, its frames in no spatial order; it holds what derived objects need of it."""
    images = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    enhanced = images[0]
    shared, frames = pydicom.Dataset(), []
    orientation, measures = pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient = enhanced.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = enhanced.PixelSpacing, enhanced.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    for place in (3, 0, 4, 1, 2):
        frame, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = images[place].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del enhanced[tag]
    enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    enhanced.SharedFunctionalGroupsSequence, enhanced.PerFrameFunctionalGroupsSequence = [shared], frames
    enhanced.NumberOfFrames, enhanced.PixelData = len(frames), enhanced.PixelData * len(frames)
    folder.mkdir()
    enhanced.save_as(folder / "all.dcm")
    return folder
