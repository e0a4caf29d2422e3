from __future__ import annotations

from spinefuse_ext.labels import STRUCTURES, VERTEBRAE


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
