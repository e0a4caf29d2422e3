from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.cohort import folder_names


def test_plain_names_stay_as_they_are() -> None:
    names = ["case_001", "Müller-2.b", "患者1", "Case 12"]
    assert folder_names(names) == {name: name for name in names}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        ".hidden",
        "-rf",
        "a/b",
        "a\\b",
        "C:x",
        "<img src=x>",
        'say "hi"',
        "CON",
        "a" * 300,
        "x.",
    ],
)
def test_other_names_are_made_plain_and_marked(name: str) -> None:
    folder = folder_names([name])[name]
    assert re.fullmatch(r"[\w\-. ]+-[0-9a-f]{8}", folder)
    assert not folder.startswith((".", "-"))
    assert len(folder.encode()) <= 100


def test_names_that_some_disks_take_for_one_are_told_apart() -> None:
    names = ["Case", "case", "e\u0301", "\u00e9"]
    folders = list(folder_names(names).values())
    assert len({folder.casefold() for folder in folders}) == len(names)


@given(st.lists(st.text(min_size=1, max_size=40), unique=True, max_size=6))
def test_no_name_leaves_the_folder_or_meets_another(names: list[str]) -> None:
    folders = folder_names(names)
    root = Path("/out/cases")
    assert all((root / folder).parent == root and folder not in (".", "..") for folder in folders.values())
    assert len({folder.casefold() for folder in folders.values()}) == len(names)
