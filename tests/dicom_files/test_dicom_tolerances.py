"""Rounding in the headers of a series is no other orientation, spacing or place; a real difference is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from spinefuse_ext.dicom import read_series, write_fused
from spinefuse_ext.validation import ImageReadError

_SIZE = 64


def _series(write_series, folder: Path, heights: tuple[float, ...], **tags: object) -> np.ndarray:
    stored = np.random.default_rng(3).integers(0, 2000, (len(heights), _SIZE, _SIZE))
    write_series(folder, heights, stored=stored, **tags)
    return stored


def _edited(folder: Path, edit: Callable[[Dataset, int], None]) -> None:
    paths = sorted(folder.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    for place, path in enumerate(paths):
        image = pydicom.dcmread(path)
        edit(image, place)
        image.save_as(path)


@pytest.mark.parametrize("jitter", [1e-7, 1e-6, 1e-5, 1e-4, 5e-4])
@pytest.mark.parametrize("start", [0.0, 0.0004999, 0.0005])
def test_directions_that_differ_by_rounding_are_one(start: float, jitter: float, tmp_path: Path, write_series) -> None:
    stored = _series(write_series, tmp_path, (0.0, 3.0, 6.0, 9.0))

    def turn(image: Dataset, place: int) -> None:
        image.ImageOrientationPatient = [1, start + (place % 2) * jitter, 0, 0, 1, (place % 3 - 1) * jitter]

    _edited(tmp_path, turn)
    image = read_series(tmp_path)
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    np.testing.assert_allclose(image.affine[:3, 2], [0, 0, 3], atol=0.01)


@pytest.mark.parametrize("spacings", [(0.48828125, 0.488281), (0.48828125, 0.4883), (0.3125, 0.312), (0.5, 0.5000001)])
def test_pixel_spacings_that_differ_by_rounding_are_one(
    spacings: tuple[float, float], tmp_path: Path, write_series
) -> None:
    stored = _series(write_series, tmp_path, (0.0, 3.0, 6.0, 9.0))

    def respace(image: Dataset, place: int) -> None:
        image.PixelSpacing = [spacings[place % 2]] * 2

    _edited(tmp_path, respace)
    image = read_series(tmp_path)
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    assert abs(float(image.affine[0, 0])) == pytest.approx(spacings[0], rel=2e-3)


@pytest.mark.parametrize("spacing", [0.45, 0.625, 1.25, 3.3])
@pytest.mark.parametrize("rounding", [np.floor, np.round, np.trunc], ids=["floor", "round", "trunc"])
def test_positions_rounded_to_a_tenth_are_even(spacing: float, rounding, tmp_path: Path, write_series) -> None:
    true = np.arange(33) * spacing - 13.37
    heights = tuple(float(height) for height in rounding(true * 10) / 10)
    stored = np.random.default_rng(1).integers(0, 2000, (33, 5, 4))
    write_series(tmp_path, heights, stored=stored)
    image = read_series(tmp_path)
    assert image.shape == (1, 4, 5, 33)
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    placed = float(image.affine[2, 3]) + np.arange(33) * float(image.affine[2, 2])
    assert abs(placed - true).max() < 0.2  # mm: two roundings


@pytest.mark.parametrize(("spacing", "missing"), [(0.45, [7]), (1.25, [7, 8]), (1.25, [3, 20]), (3.3, [30])])
def test_a_missing_slice_is_found_behind_rounding(
    spacing: float, missing: list[int], tmp_path: Path, write_series
) -> None:
    heights = np.delete(np.floor((np.arange(33) * spacing - 13.37) * 10) / 10, missing)
    write_series(tmp_path, tuple(heights), stored=np.zeros((len(heights), 5, 4), int))
    with pytest.raises(ImageReadError, match=rf"{len(missing)} slices? (is|are) missing between CT\d+ and CT\d+"):
        read_series(tmp_path)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_an_oblique_stack_rounded_to_a_tenth_is_not_resampled_and_carries_what_is_made_of_it(
    seed: int, tmp_path: Path, write_series
) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    normal = np.cross(turn[:, 0], turn[:, 1])
    directions = np.round([*turn[:, 0], *turn[:, 1]], 4).tolist()
    study = {"StudyInstanceUID": "1.2.3", "StudyID": "1", "StudyDate": "20260101", "StudyTime": "120000"}
    stored = _series(write_series, tmp_path / "ct", tuple(np.arange(9.0)), ImageOrientationPatient=directions, **study)

    def place_at(image: Dataset, place: int) -> None:
        image.ImagePositionPatient = np.round([5.03, 7.07, -9.01] + normal * 3.3 * place, 1).tolist()

    _edited(tmp_path / "ct", place_at)
    image = read_series(tmp_path / "ct")
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    assert not image.meta["warnings"]
    fused = write_fused(image * 0 + 0.5, tmp_path / "ct", tmp_path / "fused")
    np.testing.assert_allclose(read_series(fused).affine, image.affine, atol=0.1)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ImageOrientationPatient", [np.cos(0.02), np.sin(0.02), 0, -np.sin(0.02), np.cos(0.02), 0]),  # 1.1 degrees
        ("PixelSpacing", [0.51, 0.75]),
        ("Rows", 63),
    ],
)
def test_a_slice_that_lies_otherwise_is_refused_by_name(tag: str, value: object, tmp_path: Path, write_series) -> None:
    _series(write_series, tmp_path, (0.0, 3.0, 6.0, 9.0))
    image = pydicom.dcmread(tmp_path / "CT3")
    setattr(image, tag, value)
    image.save_as(tmp_path / "CT3")
    with pytest.raises(ImageReadError, match=r"CT3 .1 of 4 images. has another orientation, spacing or size"):
        read_series(tmp_path)


def test_a_slice_beside_the_others_is_refused(tmp_path: Path, write_series) -> None:
    _series(write_series, tmp_path, (0.0, 3.0, 6.0, 9.0))

    def shift(image: Dataset, place: int) -> None:
        image.ImagePositionPatient = [-10 + (place == 2) * 0.6, -20, 3 * place]

    _edited(tmp_path, shift)
    with pytest.raises(ImageReadError, match="unevenly spaced or shifted"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0]),
        ("PixelSpacing", [0, 0]),
        ("ImagePositionPatient", [0, 0]),
    ],
)
def test_an_impossible_place_is_refused_by_name(tag: str, value: object, tmp_path: Path, write_series) -> None:
    write_series(tmp_path)
    image = pydicom.dcmread(tmp_path / "CT3")
    setattr(image, tag, value)
    image.save_as(tmp_path / "CT3")
    with pytest.raises(ImageReadError, match=r"CT3 has an impossible place in the patient"):
        read_series(tmp_path)


def test_a_single_slice_without_a_thickness_is_said(tmp_path: Path, write_series) -> None:
    write_series(tmp_path, (5.0,), SliceThickness=None)
    (sentence,) = read_series(tmp_path).meta["warnings"][:1]
    assert "is a single slice of unknown thickness, taken to be 1 mm" in sentence
