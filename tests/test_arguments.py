from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.arguments import bind_arguments, read_value
from spinefuse_ext.validation import ConfigError

#: What python-fire reads as something else than the text that was typed.
TEXTS = [
    *("2024", "2024_05", "007", "1e5", "0x10", "2.50", "-5", "Doe,John", "[a]", "(a)", "{a: b}", "None", "True", "a#b"),
    *(
        "#",
        "$x",
        "@y",
        "%z",
        "C:x",
        "~",
        "it's",
        '"quoted"',
        "a  b",
        " a",
        "a\nb",
        "Grün",
        "脊柱",
        "1+1",
        "b'a'",
        "a::b",
    ),
]


def verb(  # noqa: PLR0913 (an option of each kind)
    ct: str,
    out: str | Path | None = None,
    *,
    cases: int = 3,
    scale_mm: float = 1.0,
    refine: bool = False,
    size_mm: Sequence[float] = (1.0,),
    relabel: Mapping[int, int] | None = None,
    labels: int | Iterable[int] | None = None,
    series: str | int | None = None,
    delta: str | Sequence[str] = (),
) -> None:
    """Take options of every kind that the verbs have."""


def open_verb(task: str, **overrides: Any) -> None:
    """Take settings of a config beside its own option."""


def bound(*words: str) -> dict[str, Any]:
    return dict(bind_arguments("verb", verb, words).arguments)


@pytest.mark.parametrize("text", TEXTS)
def test_paths_and_names_stay_the_text_that_was_typed(text: str) -> None:
    for read in (bound(f"--ct={text}", "--series", text, "--out", text), bound(text, text, f"--series={text}")):
        assert (read["ct"], read["out"], read["series"]) == (text, text, text)


@given(text=st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_any_text_after_an_equals_sign_is_that_text(text: str) -> None:
    assert bound(f"--ct={text}")["ct"] == text


def test_typed_options_are_read_by_their_annotation() -> None:
    given = bound("c", "--cases", "-2", "--scale_mm=1e-1", "--refine", "--size_mm", "1,2.5", "--relabel", "{38: 1}")
    assert given == {
        **{"ct": "c", "out": None, "cases": -2, "scale_mm": 0.1, "refine": True},
        **{"size_mm": [1.0, 2.5], "relabel": {38: 1}},
    }
    assert isinstance(given["size_mm"][0], float)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("None", int | None, None),
        ("5", int | Iterable[int] | None, 5),
        ("[5,6]", int | Iterable[int] | None, [5, 6]),
        ("5,6", int | Iterable[int] | None, [5, 6]),
        ("inf", float, float("inf")),
        ("yes", bool, True),
        ("{1: disc, '2': canal}", Mapping[int, str], {1: "disc", 2: "canal"}),
        ("['a.json', 'b']", str | Sequence[str], ["a.json", "b"]),
        ("A,B", str | Sequence[str], "A,B"),
    ],
)
def test_a_value_is_of_the_kind_that_is_asked_for(text: str, kind: Any, value: Any) -> None:
    assert read_value(text, kind) == value


def test_a_list_of_paths_is_a_path_where_a_file_has_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_value("['a']", str | Sequence[str]) == ["a"]
    (tmp_path / "['a']").touch()
    assert read_value("['a']", str | Sequence[str]) == "['a']"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["c", "--cases", "2.5"], "--cases takes a whole number, got 2.5"),
        (["c", "--cases", "2024_05"], "--cases takes a whole number, got 2024_05"),
        (["c", "--cases", "True"], "--cases takes a whole number, got True"),
        (["c", "--scale_mm", "2,5"], "--scale_mm takes a number with a decimal point, got 2,5"),
        (["c", "--scale_mm", "nan"], "--scale_mm takes a number"),
        (["c", "--refine=maybe"], "--refine takes True or False, got maybe"),
        (["c", "--size_mm", "5"], r"--size_mm takes a list such as \"\[1,2,3\]\", got 5"),
        (["c", "--size_mm", "[a,b]"], "--size_mm takes a number with a decimal point, got a"),
        (["c", "--relabel", "[1]"], "--relabel takes a mapping"),
        (["--ct="], "--ct takes text, got nothing"),
        (["c", "--out"], "--out needs a value; one that begins with a dash is written --out=-VALUE"),
        (["c", "--out", "--refine"], "--out needs a value"),
        (["c", "--out", "-x"], "--out needs a value"),
        (["c", "--out", "a", "--out", "b"], "got --out twice"),
        (["c", "o", "more"], "has no use for the word 'more'; put a path or name that holds a blank in quotes"),
        (["c", "--sead", "1"], "has no option --sead"),
        ([], "needs ct; give --ct VALUE"),
    ],
)
def test_a_wrong_word_is_told_in_a_sentence(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"`spinefuse verb`.* ?{message}"):
        bind_arguments("verb", verb, words)


def test_flags_are_said_and_denied_and_leave_the_next_word_alone() -> None:
    assert bound("--refine", "c") == {**bound("c"), "refine": True}
    assert bound("--norefine", "c", "o")["refine"] is False
    assert bound("c", "--refine", "false")["refine"] is False
    assert bound("--", "-c", "--out")["out"] == "--out"


def test_settings_of_a_config_stay_text_for_the_config_to_read() -> None:
    given = bind_arguments("verb", open_verb, ["fusion", "--epochs", "2", "--net#dim=8", "--amp", "--no-amp", "--out"])
    assert given.arguments["overrides"] == {"epochs": "2", "net#dim": "8", "amp": True, "no_amp": True, "out": True}
