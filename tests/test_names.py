from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from spinefuse_ext.names import normal_form, on_disk
from spinefuse_ext.validation import MissingPathError, check_exists

COMPOSED, APART = (unicodedata.normalize(form, "Müller_é") for form in ("NFC", "NFD"))


def test_names_that_look_equal_are_equal() -> None:
    assert COMPOSED != APART
    assert normal_form(APART) == COMPOSED
    assert normal_form("\ufeff L1\u00a0 left\u200b \r\n") == "L1 left"


@pytest.mark.parametrize(("kept", "typed"), [(COMPOSED, APART), (APART, COMPOSED), (COMPOSED, COMPOSED)])
def test_a_path_is_found_in_either_form(kept: str, typed: str, tmp_path: Path) -> None:
    (tmp_path / kept / "a  b").mkdir(parents=True)
    (tmp_path / kept / "a  b" / f"{kept}.nii").touch()
    path = tmp_path / typed / "a  b" / f"{typed}.nii"
    assert check_exists(path, "The CT") == on_disk(path) == tmp_path / kept / "a  b" / f"{kept}.nii"
    assert on_disk(tmp_path / typed / "a b") is None


def test_what_cannot_be_looked_at_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"The CT .* cannot be looked at \(File name too long\)"):
        check_exists(tmp_path / ("n" * 300), "The CT")
    assert on_disk(tmp_path / "Grün" / "x") is None
