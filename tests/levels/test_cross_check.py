from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from spinefuse_ext.levels import Level, Levels, cross_check
from spinefuse_ext.validation import LevelsError

NAMES = ("T12", "L1", "L2", "L3", "L4", "L5")


def spine(names: Sequence[str], *, first: int = 0, relative: bool = False) -> Levels:
    """Vertebrae 35 mm apart, the first ``first`` levels below the height of T12."""
    bones = tuple(
        Level("vertebra", place, name, 1, (0.0, 20.0, -35.0 * (first + place)), 50.0, "")
        for place, name in enumerate(names)
    )
    return Levels(bones, relative, "", (), 0, 0.0)


def to_mr(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points + np.array([10.0, -5.0, 100.0])


def placed(levels: Levels) -> Levels:
    """The same levels in the MR's space, 3 mm off."""
    move = lambda place: tuple(float(x) for x in to_mr(np.array([place]))[0] + [0.0, 3.0, 0.0])  # noqa: E731
    return replace(levels, levels=tuple(replace(each, centroid_mm=move(each.centroid_mm)) for each in levels.levels))


def kinds(ct: Levels, mr: Levels, way: Callable[..., NDArray[np.float64]] = to_mr) -> list[str]:
    return [each.kind for each in cross_check(ct, placed(mr), way).contradictions]


def test_equal_numberings_agree() -> None:
    found = cross_check(spine(NAMES), placed(spine(NAMES)), to_mr)
    assert found.agrees
    assert [(ct, mr) for ct, mr, _ in found.pairs] == [(name, name) for name in NAMES]
    assert [far for _, _, far in found.pairs] == pytest.approx([3.0] * 6)


def test_the_edges_of_the_fields_are_no_contradiction() -> None:
    assert kinds(spine(NAMES), spine(NAMES[2:5], first=2)) == []
    assert kinds(spine(NAMES[1:4], first=1), spine(NAMES)) == []


@pytest.mark.parametrize(("names", "words"), [(NAMES[1:], "one level below"), (("T11", *NAMES[:4]), "one level above")])
def test_names_that_are_shifted_are_one_contradiction(names: tuple[str, ...], words: str) -> None:
    found = cross_check(spine(NAMES[:5]), placed(spine(names)), to_mr).contradictions
    assert [each.kind for each in found] == ["shift"]
    assert words in found[0].sentence
    assert "all 5 vertebrae" in found[0].sentence


def test_the_border_of_thorax_and_loin_counts_as_one_level() -> None:
    assert kinds(spine(["T11", "T12"]), spine(["T12", "L1"])) == ["shift"]


def test_a_missing_level_is_named_with_its_neighbours() -> None:
    mr = spine(NAMES)
    without = replace(mr, levels=tuple(each for each in mr.levels if each.name != "L2"))
    found = cross_check(spine(NAMES), placed(without), to_mr).contradictions
    assert [each.kind for each in found] == ["missing_in_mr"]
    assert "L2 of the CT, between L1 and L3" in found[0].sentence


def test_exchanged_names_are_told_by_pair_and_by_order() -> None:
    assert kinds(spine(NAMES), spine(("T12", "L2", "L1", "L3", "L4", "L5"))) == ["name", "name", "order"]


def test_counts_of_lumbar_vertebrae_are_compared_where_both_show_all() -> None:
    sacrum = Level("sacrum", 9, "S1", 26, (0.0, 20.0, -400.0), 80.0, "")
    ct, mr = spine(NAMES), spine((*NAMES, "L6"))
    both = [replace(each, levels=(*each.levels, sacrum)) for each in (ct, mr)]
    assert kinds(*both) == ["count"]


def test_counted_levels_have_no_names_that_could_contradict() -> None:
    assert kinds(spine(NAMES), spine(("V1", "V2", "V3", "V4", "V5", "V6"), relative=True)) == []


def test_scans_without_a_common_level_are_refused() -> None:
    with pytest.raises(LevelsError, match="No vertebra of the CT"):
        cross_check(spine(NAMES), placed(spine(NAMES, first=20)), to_mr)
