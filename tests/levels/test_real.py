"""Levels of real label volumes whose numbers or order are known."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from skimage.io import imread

from spinefuse_ext.levels import KnownLevels, find_levels
from spinefuse_ext.levels.read import read_structures

pytestmark = pytest.mark.assets


def test_a_lumbar_ct_gets_the_names_of_its_numbers(assets: Path) -> None:
    path = assets / "data" / "ct_spine" / "totalseg_lumbar_3mm" / "totalseg.nii.gz"
    truth = np.asarray(nib.load(path).dataobj).astype(int)
    classes, affine = read_structures(path, "totalsegmentator")
    numbers, found = find_levels(classes, affine, ids="totalsegmentator")
    for number in range(27, 33):  # L5 to T12; 33, T11, has 76 voxels
        mine = numbers[truth == number]
        assert (mine == number).mean() > 0.85, found.told()  # no canal is labelled, so some processes go astray


@pytest.mark.parametrize(("patient", "count"), [("pat022", 8), ("pat166", 8)], ids=["usual", "wedged"])
def test_spider_patients_are_separated_in_order(assets: Path, patient: str, count: int) -> None:
    folder = assets / "data" / "mr_spine" / "spider_t2space_41pat_half" / "masks"
    slices = np.stack([imread(path) for path in sorted(folder.glob(f"{patient}_s*.png"))], axis=-1)
    classes = np.array([0, 2, 1, 3], np.uint8)[slices]
    affine = np.array([[0, 0, 0.9, 0], [0, -0.94, 0, 0], [-0.94, 0, 0, 0], [0, 0, 0, 1.0]])
    _, found = find_levels(classes, affine, known=KnownLevels(lowest_disc="L5/S1"))
    assert [level.rank for level in found.vertebrae] == list(range(count))
    assert found.vertebrae[-1].name == "L5"
    assert len(found.discs) == count
