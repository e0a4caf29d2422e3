"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

WriteSeries = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real images and reference values (``data/`` and ``golden/``)."""
    folder = os.environ.get("SPINEFUSE_ASSETS")
    if not folder:
        pytest.skip("SPINEFUSE_ASSETS is not set: it names the folder with real images and reference values")
    path = Path(folder).absolute()
    if not (path / "data").is_dir():
        pytest.fail(f"SPINEFUSE_ASSETS={folder} has no folder data/")
    return path


def _slice(stored: np.ndarray, position: np.ndarray, **tags: object) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.ImagePositionPatient = position.tolist()
    for name, value in tags.items():
        setattr(image, name, value)
    image.PixelData = stored.astype("<i2").tobytes()
    return image


@pytest.fixture
def write_series() -> WriteSeries:
    """Write a small CT series with shuffled file names; returns the stored values (slices, rows, columns)."""

    def write(
        folder: Path,
        heights_mm: tuple[float, ...] = (0.0, 3.0, 6.0, 9.0),
        tilt_mm: float = 0.0,
        modality: str = "CT",
        patient: str = "p1",
        stored: np.ndarray | None = None,
        **tags: object,
    ) -> np.ndarray:
        folder.mkdir(parents=True, exist_ok=True)
        if stored is None:
            stored = np.random.default_rng(1).integers(0, 2000, (len(heights_mm), 5, 4))
        series = {
            "SeriesInstanceUID": generate_uid(),
            "FrameOfReferenceUID": "1.2.3",
            "SeriesDescription": f"small {modality}",
            "PatientID": patient,
            "Modality": modality,
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.5, 0.75],  # between rows, between columns
            "SliceThickness": 3,
            "RescaleSlope": 2,
            "RescaleIntercept": -1024,
            **tags,
        }
        names = np.random.default_rng(2).permutation(len(heights_mm))
        for name, height, pixels in zip(names, heights_mm, stored, strict=True):
            position = np.array([-10.0, -20.0 + tilt_mm * height, height])
            image = _slice(pixels, position, **series)
            pydicom.dcmwrite(folder / f"{modality}{name}", image, enforce_file_format=True)
        return stored

    return write
