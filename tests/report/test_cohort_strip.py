from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from spinefuse_ext.registration import Landmarks
from spinefuse_ext.report import cohort_strip, save_jpeg

SHAPE = (12, 60, 50)
#: 3 mm between sagittal slices, 2 mm from back to front, 4 mm up.
AFFINE = np.array([[3.0, 0, 0, 10], [0, 2.0, 0, -20], [0, 0, 4.0, 100], [0, 0, 0, 1]])
NAMES = ("L1", "L2", "L3")


def place(*voxel: float) -> np.ndarray:
    return AFFINE[:3, :3] @ voxel + AFFINE[:3, 3]


def image(affine: np.ndarray = AFFINE) -> MetaTensor:
    """Each sagittal slice has a value of its own, and a bright corner in front and above."""
    voxels = torch.zeros(1, *SHAPE) + 10 * torch.arange(12)[None, :, None, None]
    voxels[..., 35:42, 28:31] += 500
    return MetaTensor(voxels, affine=torch.from_numpy(affine))


POINTS = Landmarks(NAMES, np.array([place(6, 30, 20), place(7, 30, 25), place(9, 38, 30)]))


def test_the_slice_goes_through_the_middle_of_the_landmarks_and_shows_their_neighbourhood() -> None:
    figure = cohort_strip(image(), image(), POINTS, POINTS)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["CT", "MR on the CT grid", "CT warm | MR cool", "CT bone on MR"]
    picture = np.asarray(figure.axes[0].images[0].get_array())
    # landmarks lie at voxels 30 to 38 and 20 to 30; 40 mm more are 20 and 10 voxels
    assert picture.shape == (40 - 10 + 1, 58 - 10 + 1)
    assert np.median(picture) == 10 * 7
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left, bottom - top) == pytest.approx((49 * 2, 31 * 4))
    box = figure.axes[0].get_position()
    width, height = figure.get_size_inches()
    assert box.width * width / (box.height * height) == pytest.approx(98 / 124, rel=0.01)


def test_front_is_left_and_up_is_up_however_the_voxels_are_stored() -> None:
    turned = image().flip(2)
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, 1] * (SHAPE[1] - 1)
    affine[:3, 1] *= -1
    turned = MetaTensor(turned.as_tensor(), affine=torch.from_numpy(affine))
    for ct in (image(), turned):
        picture = np.asarray(cohort_strip(ct, ct, POINTS, POINTS).axes[0].images[0].get_array())
        rows, columns = np.nonzero(picture > 500)
        assert (rows.min(), rows.max()) == (40 - 30, 40 - 28)  # from voxel 40 down
        assert (columns.min(), columns.max()) == (58 - 41, 58 - 35)  # from voxel 58 back


def test_both_landmarks_of_a_name_and_their_distance_are_drawn() -> None:
    moved = Landmarks(NAMES[::-1], POINTS.points_mm[::-1] + np.array([0, 0, -8.0]))
    figure = cohort_strip(image(), image(), POINTS, moved)
    for ax in figure.axes[:2]:
        lines = [line for line in ax.lines if line.get_color() == "#d55e00"]
        assert len(lines) == 3
        for line in lines:
            (across, other), (down, below) = line.get_data()
            assert across == pytest.approx(other)
            assert below - down == pytest.approx(8.0)
    names = {text.get_text() for text in figure.axes[0].texts}
    assert set(NAMES) <= names
    assert not set(NAMES) & {text.get_text() for text in figure.axes[1].texts}


def test_without_landmarks_the_part_with_mr_signal_is_shown() -> None:
    mr = image()
    mr[..., :20, :], mr[..., :10] = -1, -1
    figure = cohort_strip(image(), mr)
    assert np.asarray(figure.axes[1].images[0].get_array()).shape == (40, 40)
    assert not figure.axes[0].lines[1:]  # the scale bar alone


def test_points_outside_the_images_and_strange_names_are_no_trouble(tmp_path: Path) -> None:
    names = ("$\\frac{$", "x" * 80, "<b>")
    far = Landmarks(names, POINTS.points_mm + np.array([500.0, -900, 900]))
    figure = cohort_strip(image(), image(), far, far)
    save_jpeg(figure, tmp_path / "strip.jpg")
    with Image.open(tmp_path / "strip.jpg") as picture:
        assert (picture.format, picture.mode, picture.size[0] > 900) == ("JPEG", "RGB", True)
    assert [path.name for path in tmp_path.iterdir()] == ["strip.jpg"]


def test_a_single_slice_is_drawn() -> None:
    flat = image()[:, :1]
    figure = cohort_strip(flat, flat, POINTS, POINTS)
    shapes = [np.asarray(ax.images[0].get_array()).shape[:2] for ax in figure.axes if ax.images]
    assert len(shapes) == 4
    assert min(min(shape) for shape in shapes) > 20  # a plane, not the line that one slice is from the front
