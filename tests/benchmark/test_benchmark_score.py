"""Scores worked by hand on masks of few voxels; every axis is RAS unless it is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.benchmark import score

LABELS = ["background", "vertebra", "disc", "canal"]
WITH_SACRUM = [*LABELS, "sacrum"]
SHAPE = (4, 40, 40)
VERTEBRA, DISC, CANAL, SACRUM = 1, 2, 3, 4


def volume(array: NDArray[np.generic], spacing_mm: float = 1.0) -> MetaTensor:
    affine = torch.diag(torch.tensor([spacing_mm] * 3 + [1.0], dtype=torch.float64))
    return MetaTensor(torch.as_tensor(array[None].astype(np.float32)), affine=affine)


def box(value: int, across: slice, up: slice, into: NDArray[np.generic] | None = None) -> NDArray[np.generic]:
    """A block over all sagittal slices, from front-back and height."""
    array = np.zeros(SHAPE, dtype=np.uint8) if into is None else into
    array[:, across, up] = value
    return array


def test_dice_is_twice_the_overlap_over_both_sizes() -> None:
    prediction = box(VERTEBRA, slice(0, 10), slice(0, 10))
    truth = volume(box(1, slice(5, 15), slice(0, 10)))
    scores = score(volume(prediction), {"vertebra": truth}, LABELS)
    assert scores.dice == {"vertebra": pytest.approx(0.5)}
    assert scores.mean == pytest.approx(0.5)
    assert scores.predicted_ml["vertebra"] == pytest.approx(4 * 10 * 10 / 1000)


def test_rows_leave_out_what_lies_above_and_below_the_labelled_vertebrae_and_discs() -> None:
    prediction = box(VERTEBRA, slice(0, 10), slice(10, 30))
    truth = volume(box(1, slice(0, 10), slice(20, 30)))
    scores = score(volume(prediction), {"vertebra": truth}, LABELS)
    assert scores.dice["vertebra"] == pytest.approx(2 / 3)
    assert scores.dice_rows["vertebra"] == pytest.approx(1.0)


def test_rows_are_those_of_the_patient_however_the_volume_is_stored() -> None:
    prediction = volume(box(VERTEBRA, slice(0, 10), slice(10, 30)))
    truth = volume(box(1, slice(0, 10), slice(20, 30)))
    for stored in (prediction, truth):  # height first and from the head down
        stored.set_array(stored.as_tensor().permute(0, 3, 2, 1).flip(1).contiguous())
        stored.affine = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 39], [0, 0, 0, 1]], dtype=torch.float64)
    scores = score(prediction, {"vertebra": truth}, LABELS)
    assert scores.dice_rows["vertebra"] == pytest.approx(1.0)


def test_a_structure_that_the_truth_knows_but_does_not_hold_has_no_dice() -> None:
    truths = {"vertebra": volume(box(1, slice(0, 10), slice(0, 10))), "disc": volume(np.zeros(SHAPE))}
    scores = score(volume(box(VERTEBRA, slice(0, 10), slice(0, 10))), truths, LABELS)
    assert math.isnan(scores.dice["disc"])
    assert scores.mean == pytest.approx(1.0)


def test_predicted_sacrum_is_no_vertebra_and_not_far_where_the_truth_does_not_know_it() -> None:
    prediction = box(SACRUM, slice(0, 10), slice(0, 8), box(VERTEBRA, slice(0, 10), slice(20, 30)))
    truths = {"vertebra": volume(box(1, slice(0, 10), slice(20, 30)))}
    scores = score(volume(prediction), truths, WITH_SACRUM)
    assert scores.dice == {"vertebra": pytest.approx(1.0)}
    assert (scores.far.ml, scores.far.share) == (0.0, 0.0)


def test_a_network_without_a_sacrum_is_not_asked_whether_s1_is_a_vertebra() -> None:
    truths = {
        "vertebra": volume(box(1, slice(0, 10), slice(20, 30))),
        "s1": volume(box(1, slice(0, 10), slice(10, 20))),
    }
    prediction = box(VERTEBRA, slice(0, 10), slice(10, 30))
    without = score(volume(prediction), truths, LABELS)
    assert without.dice["vertebra"] == pytest.approx(1.0)
    assert without.recall == {"s1": pytest.approx(1.0)}
    assert without.dice_rows["vertebra_or_sacrum"] == pytest.approx(1.0)
    asked = score(volume(prediction), truths, WITH_SACRUM)
    assert asked.dice["vertebra"] == pytest.approx(2 / 3)
    assert asked.recall == {"s1": 0.0}


def test_the_sacrum_has_a_dice_of_its_own_where_network_and_truth_know_it() -> None:
    truths = {
        "vertebra": volume(box(1, slice(0, 10), slice(20, 30))),
        "sacrum": volume(box(1, slice(0, 10), slice(10, 20))),
    }
    prediction = box(SACRUM, slice(0, 10), slice(10, 20), box(VERTEBRA, slice(0, 10), slice(20, 30)))
    scores = score(volume(prediction), truths, WITH_SACRUM)
    assert scores.dice == {"vertebra": pytest.approx(1.0), "sacrum": pytest.approx(1.0)}


def test_the_cord_is_part_of_the_canal_and_has_a_recall() -> None:
    truths = {"cord": volume(box(1, slice(10, 14), slice(0, 40)))}
    scores = score(volume(box(CANAL, slice(10, 20), slice(0, 30))), truths, LABELS)
    assert scores.recall == {"cord": pytest.approx(0.75)}
    assert "canal" not in scores.dice


def test_far_counts_what_lies_more_than_10_mm_from_every_true_structure() -> None:
    prediction = box(DISC, slice(30, 40), slice(0, 10), box(VERTEBRA, slice(0, 10), slice(0, 10)))
    truths = {"vertebra": volume(box(1, slice(0, 20), slice(0, 10)))}
    scores = score(volume(prediction), truths, LABELS)  # rows 30 to 39 are 11 to 20 mm from row 19
    assert scores.far.ml == pytest.approx(4 * 10 * 10 / 1000)
    assert scores.far.share == pytest.approx(0.5)
    half = score(volume(prediction, 0.5), {"vertebra": volume(box(1, slice(0, 20), slice(0, 10)), 0.5)}, LABELS)
    assert half.far.ml == 0.0  # 10 mm at most


def test_far_in_the_labelled_rows_leaves_out_what_lies_below_them() -> None:
    prediction = box(VERTEBRA, slice(0, 10), slice(0, 5), box(VERTEBRA, slice(0, 10), slice(30, 40)))
    scores = score(volume(prediction), {"vertebra": volume(box(1, slice(0, 10), slice(30, 40)))}, LABELS)
    assert scores.far.share == pytest.approx(5 / 15)
    assert scores.far_rows.share == 0.0


def bodies() -> NDArray[np.generic]:
    """Two bodies of 10 x 10 mm, the upper one with the lower number."""
    return box(7, slice(20, 30), slice(0, 10), box(2, slice(20, 30), slice(20, 30)))


def test_bodies_have_a_recall_each_from_the_head_down_and_are_found_above_80_percent() -> None:
    prediction = box(VERTEBRA, slice(20, 25), slice(0, 10), box(VERTEBRA, slice(20, 29), slice(20, 30)))
    scores = score(volume(prediction), {"bodies": volume(bodies())}, LABELS)
    assert scores.bodies is not None
    assert list(scores.bodies.recall) == pytest.approx([0.9, 0.5])
    assert scores.bodies.found == 1
    assert scores.dice == {}
    assert math.isnan(scores.far.ml)


def test_sacrum_counts_for_the_lowest_body_alone_which_may_be_s1() -> None:
    prediction = box(SACRUM, slice(20, 30), slice(0, 30))
    scores = score(volume(prediction), {"bodies": volume(bodies())}, WITH_SACRUM)
    assert scores.bodies is not None
    assert list(scores.bodies.recall) == [0.0, 1.0]


def test_invented_is_before_or_beside_the_bodies_and_neither_behind_nor_above_them() -> None:
    prediction = bodies().astype(bool)
    prediction[:, 0:9, 0:30] = True  # 12 to 20 mm before the bodies: 1.08 ml
    prediction[:, 0:20, 30:40] = True  # above the highest labelled row
    scores = score(volume(prediction * VERTEBRA), {"bodies": volume(bodies())}, LABELS)
    assert scores.bodies is not None
    assert scores.bodies.invented_ml == pytest.approx(0.0)  # behind (RAS: front is high), where the arches are
    mirrored = prediction[:, ::-1].copy()
    truth = bodies()[:, ::-1].copy()
    scores = score(volume(mirrored * VERTEBRA), {"bodies": volume(truth)}, LABELS)
    assert scores.bodies is not None
    assert scores.bodies.invented_ml == pytest.approx(4 * 9 * 30 / 1000)
    assert scores.bodies.invented_parts == 0
    scores = score(volume(mirrored * VERTEBRA, 2.0), {"bodies": volume(truth, 2.0)}, LABELS)
    assert scores.bodies is not None
    canal = score(volume(mirrored * CANAL), {"bodies": volume(truth)}, LABELS)
    assert canal.bodies is not None
    assert canal.bodies.invented_ml == pytest.approx(4 * 9 * 30 / 1000)  # a canal before the bodies is none
    assert scores.bodies.invented_parts == 1  # the same shape of 2 mm voxels is larger than 2 ml
