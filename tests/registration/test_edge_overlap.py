from __future__ import annotations

import numpy as np
import pytest
from monai.data import MetaTensor

from spinefuse_ext.registration.comparison_region import Region, compare_where
from spinefuse_ext.registration.edge_overlap import edge_overlap
from spinefuse_ext.registration.linear import LinearMap


def shift(x_mm: float) -> LinearMap:
    matrix = np.eye(4)
    matrix[0, 3] = x_mm
    return LinearMap(matrix)


@pytest.fixture
def region(fixed: MetaTensor) -> Region:
    inverted = MetaTensor(500 - 3 * fixed.as_tensor(), affine=fixed.affine)
    return compare_where(fixed, inverted, shift(0), None, margin_mm=5, seed=0)


def test_an_image_and_its_negative_share_every_edge(region: Region) -> None:
    assert edge_overlap(region, shift(0))[0] > 0.99


def test_the_overlap_falls_the_further_the_images_lie_apart(region: Region) -> None:
    overlaps = edge_overlap(region, *(shift(way) for way in (0.0, 1.0, 2.0, 4.0, 8.0)))
    assert list(overlaps) == sorted(overlaps, reverse=True)
    assert overlaps[-1] < 0.5


def test_maps_are_compared_at_the_points_that_all_of_them_keep_inside(region: Region) -> None:
    far = 35.0  # of a field of 52 mm: few points stay
    alone, beside = edge_overlap(region, shift(2))[0], edge_overlap(region, shift(2), shift(far))[0]
    assert alone != beside
    assert edge_overlap(region, shift(1000.0)) == (0.0,)  # none stays


def test_points_lie_on_tissue_of_both_images_around_the_landmarks(fixed: MetaTensor) -> None:
    half = MetaTensor(fixed.as_tensor().clone(), affine=fixed.affine)
    half[0, :13] = half.min()  # no tissue for x below 0
    region = compare_where(fixed, half, shift(0), np.array([[0.0, 0, 30.0]]), margin_mm=5, seed=0)
    assert len(region.points) >= 1000
    assert region.points[:, 0].min() > -1.1  # half a voxel
    assert np.linalg.norm(region.points - [0, 0, 30], axis=1).max() < 35
