from __future__ import annotations

import pytest

from spinefuse_ext.labels import (
    SNOMED_CT,
    STRUCTURES,
    VERTEBRAE,
    class_named,
    plain_name,
    structure_coded,
    structure_named,
)


def test_structures_are_the_channels_in_order() -> None:
    assert list(STRUCTURES) == list(range(len(STRUCTURES)))
    assert STRUCTURES[0] == "background"
    assert len(set(STRUCTURES.values())) == len(STRUCTURES)


def test_vertebrae_run_from_the_neck_to_the_sacrum() -> None:
    assert [VERTEBRAE[number] for number in (1, 7, 8, 19, 20, 24, 25, 26, 28)] == [
        *("C1", "C7", "T1", "T12", "L1", "L5", "L6", "S1", "T13")
    ]
    assert len(VERTEBRAE) == 7 + 12 + 6 + 1 + 1
    assert len(set(VERTEBRAE.values())) == len(VERTEBRAE)


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        *(("Vertebrae", "vertebra"), ("vertebrae_L4", "vertebra"), ("T12", "vertebra"), ("vertebra 3", "vertebra")),
        *(("Sacrum", "sacrum"), ("os sacrum", "sacrum"), ("S1", "sacrum"), ("vertebrae_S1", "sacrum")),
        *(("S5 vertebra", "sacrum"), ("Sacral bone", "sacrum"), ("S6", None), ("sacroiliac joint", None)),
        *(("Intervertebral Disks", "disc"), ("L4-L5", "disc"), ("disc L5/S1", "disc"), ("IVD_3", "disc")),
        *(("Spinal Canal", "canal"), ("VERTEBRAL-CANAL", "canal"), ("bg", "background")),
        *((name, None) for name in ("Segment_1", "spinal cord", "vertebral body", "dural sac", "T2w", "")),
    ],
)
def test_names_are_known_or_not(name: str, structure: str | None) -> None:
    assert structure_named(name) == structure
    assert class_named(name, STRUCTURES) == next((each for each in STRUCTURES if STRUCTURES[each] == structure), None)


def test_names_do_not_depend_on_the_form_of_their_letters() -> None:
    composed, apart = "Vert\N{LATIN SMALL LETTER E WITH GRAVE}bre", "VERTE\N{COMBINING GRAVE ACCENT}BRE"
    assert plain_name(composed) == plain_name(apart)
    assert class_named(apart, {1: composed}) == 1


def test_a_level_is_its_own_class_where_levels_are_classes() -> None:
    assert class_named("vertebrae_L5", VERTEBRAE) == class_named("L5", VERTEBRAE) == 24
    assert class_named("vertebrae_S1", VERTEBRAE) == class_named("S1", VERTEBRAE) == 26
    assert class_named("vertebra", VERTEBRAE) is None


def test_a_sacrum_is_no_class_where_the_labels_know_none() -> None:
    without = {number: name for number, name in STRUCTURES.items() if name != "sacrum"}
    assert class_named("S1", without) is class_named("sacrum", without) is None


def test_codes_of_snomed_and_of_before_it_are_known() -> None:
    assert {structure_coded(code): name for name, (code, _) in SNOMED_CT.items()} == {name: name for name in SNOMED_CT}
    known = {"T-11510": "vertebra", "84020006": "disc", "T-11AD0": "sacrum", "85756007": None}
    assert {code: structure_coded(code) for code in known} == known
