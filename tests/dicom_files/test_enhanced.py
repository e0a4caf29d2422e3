from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from spinefuse_ext.dicom import find_series, read_series
from spinefuse_ext.validation import ImageReadError


def group(**tags: object) -> Sequence:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


def make_enhanced(folder: Path, heights_mm: tuple[float, ...], slopes: tuple[float, ...], syntax: str = "") -> Path:
    """Turn pydicom's small MR into one enhanced file with a frame per height; the frames differ by their slope."""
    name = f"MR_small{syntax}.dcm"
    image = pydicom.dcmread(get_testdata_file(name, download=False))
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    image.SeriesInstanceUID, image.Modality = generate_uid(), "MR"
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        if tag in image:
            del image[tag]
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = group(PixelSpacing=[0.5, 0.75], SliceThickness=2)
    for height, slope in zip(heights_mm, slopes, strict=True):
        frame = Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=[0, 0, height])
        frame.PixelValueTransformationSequence = group(RescaleSlope=slope, RescaleIntercept=1)
        frames.append(frame)
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    image.NumberOfFrames = len(frames)
    if syntax:
        one = next(generate_frames(image.PixelData, number_of_frames=1))
        image.PixelData = encapsulate([one] * len(frames))
        image["PixelData"].is_undefined_length = True
    else:
        image.PixelData = image.PixelData * len(frames)
    image.save_as(folder / "all.dcm")
    return folder


@pytest.mark.parametrize("syntax", ["", "_jp2klossless", "_jpeg_ls_lossless", "_RLE"])
def test_frames_become_slices_in_order_each_with_its_own_rescale(syntax: str, tmp_path: Path) -> None:
    folder = make_enhanced(tmp_path, (4.0, 0.0, 2.0), (3.0, 1.0, 2.0), syntax)
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False)).pixel_array.T
    image = read_series(folder, "MR")
    assert image.shape == (1, 64, 64, 3)
    for place, slope in enumerate((1.0, 2.0, 3.0)):
        np.testing.assert_array_equal(image.numpy()[0, ..., place], slope * plain + 1)
    np.testing.assert_allclose(image.affine, [[-0.75, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    series = find_series(folder)[0]
    assert (series.number_of_files, series.number_of_slices) == (1, 3)


def test_frames_that_form_no_stack_are_refused(tmp_path: Path) -> None:
    make_enhanced(tmp_path, (0.0, 2.0, 2.0), (1.0, 1.0, 3.0))
    with pytest.raises(ImageReadError, match="several images at one position"):
        read_series(tmp_path)
    make_enhanced(tmp_path, (0.0, 2.0, 4.0, 8.0), (1.0,) * 4)
    with pytest.raises(ImageReadError, match=r"1 slice is missing between all.dcm and all.dcm"):
        read_series(tmp_path)
