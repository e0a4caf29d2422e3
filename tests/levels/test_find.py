from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from spinefuse_ext.levels import KnownLevels, find_levels
from spinefuse_ext.levels.anchors import NamedPoint
from spinefuse_ext.validation import LevelsError

Boxes = Callable[..., NDArray[np.uint8]]
Affine = NDArray[np.float64]


def test_every_body_and_disc_gets_its_own_number(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(5)
    numbers, found = find_levels(classes, affine)
    assert [level.name for level in found.vertebrae] == ["L1", "L2", "L3", "L4", "L5"]
    assert [level.name for level in found.discs] == ["L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1"]
    assert set(np.unique(numbers)) == {0, 20, 21, 22, 23, 24, 26, 120, 121, 122, 123, 124}
    assert ((numbers > 0) == (np.isin(classes, (1, 2, 4)))).all()


def test_an_arch_and_its_process_go_with_their_body(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(5)
    numbers, _ = find_levels(classes, affine)
    pieces, count = ndimage.label(classes == 1)
    assert count == 5
    assert all(len(np.unique(numbers[pieces == piece])) == 1 for piece in range(1, count + 1))


def test_a_loose_process_goes_with_the_body_above_it(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(5)
    whole, _ = find_levels(classes, affine)
    loose = classes.copy()
    loose[:, 19:32][loose[:, 19:32] == 1] = 0  # pedicles, in front of the arch and behind the body
    numbers, found = find_levels(loose, affine)
    assert (numbers[loose == 1] == whole[loose == 1]).all()
    assert found.dropped == 0


def test_places_are_those_of_the_bodies_in_mm(boxes: Boxes, affine: Affine) -> None:
    _, found = find_levels(boxes(5), affine)
    x, y, z = np.array([level.centroid_mm for level in found.vertebrae]).T
    assert np.abs(x - -1.0).max() < 1.0  # voxel 14.5
    assert np.abs(y - 19.0).max() < 2.0  # voxel 39.5
    assert np.diff(z) == pytest.approx([-32.0] * 4, abs=1.5)


def test_bodies_that_touch_are_divided_and_said(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(6)
    fused = classes.copy()
    top = classes.shape[2] - 4 - 2 * 16
    fused[5:25, 32:48, top - 16 : top - 12] = 1  # bone in place of the third disc
    numbers, found = find_levels(fused, affine)
    assert len(found.vertebrae) == 6
    assert any("divided where bone is least" in doubt for doubt in found.doubts)
    whole, _ = find_levels(classes, affine)
    same = (numbers == whole)[classes == 1].mean()
    assert same > 0.95


@pytest.mark.parametrize("flip", [(0,), (2,), (0, 1, 2)], ids=["x", "z", "all"])
def test_levels_do_not_depend_on_the_direction_of_the_axes(boxes: Boxes, affine: Affine, flip: tuple[int, ...]) -> None:
    classes = boxes(4)
    numbers, _ = find_levels(classes, affine)
    turned = affine.copy()
    for axis in flip:
        turned[:3, 3] += turned[:3, axis] * (classes.shape[axis] - 1)
        turned[:3, axis] *= -1
    again, _ = find_levels(np.flip(classes, flip).copy(), turned)
    assert (np.flip(again, flip) == numbers).mean() > 0.999


def test_a_finer_grid_gives_the_same_levels(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(2)
    numbers, _ = find_levels(classes, affine)
    fine = np.repeat(np.repeat(np.repeat(classes, 4, 0), 4, 1), 4, 2)
    finer = affine.copy()
    finer[:3, :3] /= 4
    finer[:3, 3] -= 0.75
    again, _ = find_levels(fine, finer)
    assert (again[2::4, 2::4, 2::4] == numbers).mean() > 0.99
    assert ((again > 0) == np.isin(fine, (1, 2, 4))).all()


def test_islands_are_dropped_and_counted(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(4)
    classes[1:4, 1:4, 4:7] = 1  # far behind and below
    classes[27:29, 55:58, 30:33] = 2
    numbers, found = find_levels(classes, affine)
    assert found.dropped == 2
    assert found.dropped_ml == pytest.approx((27 + 18) * 0.008)
    assert not numbers[1:4, 1:4, 4:7].any()


def test_without_a_sacrum_names_count_what_is_seen(boxes: Boxes, affine: Affine) -> None:
    numbers, found = find_levels(boxes(4, sacrum=False), affine)
    assert found.relative
    assert [level.name for level in found.vertebrae] == ["V1", "V2", "V3", "V4"]
    assert set(np.unique(numbers)) == {0, 301, 302, 303, 304, 401, 402, 403, 404}
    assert "nothing tells which level is which" in found.doubts[0]


def test_the_lowest_disc_names_all(boxes: Boxes, affine: Affine) -> None:
    _, found = find_levels(boxes(7, sacrum=False), affine, known=KnownLevels(lowest_disc="L5/S1"))
    assert found.told() == "T11, T12, L1, L2, L3, L4, L5"


def test_a_point_on_one_level_names_all(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(4, sacrum=False)
    _, plain = find_levels(classes, affine)
    x, y, z = plain.vertebrae[1].centroid_mm
    _, found = find_levels(classes, affine, known=KnownLevels([NamedPoint(f"L2@{x},{y},{z}")]))
    assert found.told() == "L1, L2, L3, L4"
    assert found.vertebrae[3].evidence.startswith("counted down 2 from L2")


def test_a_sixth_lumbar_body_is_reported_and_not_silently_renamed(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(6)
    _, plain = find_levels(classes, affine)
    x, y, z = plain.vertebrae[0].centroid_mm
    _, found = find_levels(classes, affine, known=KnownLevels([NamedPoint(f"L1@{x},{y},{z}")]))
    assert found.told() == "L1, L2, L3, L4, L5, L6"
    assert any("possibly an L6" in doubt for doubt in found.doubts)


def test_four_lumbar_bodies_are_reported(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(5)
    _, plain = find_levels(classes, affine)
    x, y, z = plain.vertebrae[0].centroid_mm
    _, found = find_levels(classes, affine, known=KnownLevels([NamedPoint(f"T12@{x},{y},{z}")]))
    assert found.told() == "T12, L1, L2, L3, L4"
    assert any("four lumbar vertebrae" in doubt for doubt in found.doubts)


def test_a_vertebra_that_the_labels_lack_is_counted_and_said(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(6)
    top = classes.shape[2] - 4 - 2 * 16
    gone = classes.copy()
    gone[:, :, top - 14 : top + 2][gone[:, :, top - 14 : top + 2] == 1] = 0
    _, found = find_levels(gone, affine)
    assert found.told() == "T12, L1, L3, L4, L5"
    assert any("no vertebra was labelled; L2 is counted there" in doubt for doubt in found.doubts)


def test_given_names_that_contradict_each_other_are_refused(boxes: Boxes, affine: Affine) -> None:
    classes = boxes(4, sacrum=False)
    _, plain = find_levels(classes, affine)
    points = [
        NamedPoint("{}@{},{},{}".format(name, *plain.vertebrae[place].centroid_mm))
        for name, place in (("L1", 0), ("L5", 2))
    ]
    with pytest.raises(LevelsError, match="4 levels apart, but the labels show 2"):
        find_levels(classes, affine, known=KnownLevels(points))


def test_an_anchor_off_the_spine_is_refused(boxes: Boxes, affine: Affine) -> None:
    with pytest.raises(LevelsError, match="in RAS mm"):
        find_levels(boxes(4), affine, known=KnownLevels([NamedPoint("L3@500,0,0")]))


@pytest.mark.parametrize("text", ["L3", "L3@1,2", "L9@1,2,3", "L3/L5@1,2,3", "L3@a,b,c", "L3@nan,0,0"])
def test_an_anchor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LevelsError):
        NamedPoint(text)


@pytest.mark.parametrize("value", [0, 2], ids=["nothing", "no-vertebra"])
def test_a_volume_without_vertebrae_is_refused(value: int, affine: Affine) -> None:
    with pytest.raises(LevelsError, match="holds no vertebra"):
        find_levels(np.full((4, 4, 4), value, np.uint8), affine)
