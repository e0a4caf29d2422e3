"""Every published file that cannot be used gives a sentence of its own, and the page of sentences lists it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spinefuse_ext.registration import fit_landmarks, read_landmarks, read_transform
from spinefuse_ext.validation import SpinefuseError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "file-errors.md"
POINTS = (".fcsv", ".json", ".csv", ".acsv")
#: Folder and start of the names -> the sentence, as the page writes it; all other files must be readable.
REFUSED = {
    r"afids_fcsv_malformed/infinite_coord": "expected three finite coordinates in mm, got",
    r"afids_fcsv_malformed/invalid_coord": "expected three finite coordinates in mm, got",
    r"afids_fcsv_malformed/invalid_content": "no '# columns =' line before the points",
    r"afids_fcsv_malformed/invalid_version": "claims markups version 3.5, but these begin with 4.0",
    r"afids_fcsv_malformed/too_few_columns": "line 5: expected 14 columns, got 13",
    r"elastix_transforms/ITK-": "holds a 2-D transform, expected a 3-D one",
    r"elastix_transforms/\w*Parameters": "is a parameter file of elastix, not a transform of ITK",
    r"slicer_fcsv_acsv/\w+\.acsv": "is an annotation of Slicer 4.0 to 4.2",
    r"slicer_transforms/rotationAndAffine": "holds 2 transforms in a row, expected one",
}


@pytest.mark.parametrize("sentence", sorted(set(REFUSED.values())))
def test_the_page_lists_the_sentence(sentence: str) -> None:
    assert sentence in PAGE.read_text(encoding="utf-8")


@pytest.mark.assets
def test_every_published_file_is_read_or_refused_in_its_own_sentence(assets: Path) -> None:
    root = assets / "data/landmarks_transforms"
    used = set()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        read = read_landmarks if path.suffix in POINTS else read_transform
        name = path.relative_to(root).as_posix()
        pattern = next((pattern for pattern in REFUSED if re.match(pattern, name)), None)
        if pattern is None:
            read(path)
            continue
        with pytest.raises(SpinefuseError) as refused:
            read(path)
        message = str(refused.value)
        assert REFUSED[pattern] in message, name
        assert message.startswith(str(path)), name
        assert "\n" not in message, name
        used.add(pattern)
    assert used == set(REFUSED)


@pytest.mark.assets
@pytest.mark.parametrize(("name", "left_out"), [("too_few_rows", (("32",), ())), ("too_many_rows", ((), ("33",)))])
def test_published_lists_of_another_length_match_a_whole_one_in_what_both_have(
    name: str, left_out: tuple[tuple[str, ...], tuple[str, ...]], assets: Path
) -> None:
    folder = assets / "data/landmarks_transforms/afids_fcsv_malformed"
    whole, other = (read_landmarks(folder / f"{each}.fcsv") for each in ("valid", name))
    fit = fit_landmarks(whole, other)
    assert fit.left_out == left_out
    assert len(fit.names) == len(whole.names) - len(left_out[0])
    assert any("left out were" in sentence for sentence in fit.warnings)
