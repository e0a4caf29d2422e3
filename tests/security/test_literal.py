from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from spinefuse_ext.data import load_datalist
from spinefuse_ext.data.dataset import make_dataset
from spinefuse_ext.literal import check_literal, is_literal, unread
from spinefuse_ext.validation import ConfigError


def evil(marker: Path) -> str:
    return f"$__import__('pathlib').Path({str(marker)!r}).touch()"


EVALUATED = [
    "$1 + 1",
    " $1",
    "\n\t@network",
    "@x",
    "@x::0",
    "%x",
    "%/etc/x.json#y",
    "a@#b",
    "a %::b",
    "x@::y",
    "%#",
    "\u00a0$1",
]
PLAIN = ["", "1", "rigid", "50 % of it", "a@b.org", "cost: 3$", "Pat #12", "a::b", "_target_", "100%", "C:\\x", "é$"]


@pytest.mark.parametrize("text", EVALUATED)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [[x]], lambda x: {"a": {"b": (x,)}}, lambda x: Path(x)])
def test_what_a_config_would_evaluate_is_refused_at_any_depth(text: str, wrap: Any) -> None:
    with pytest.raises(ConfigError, match=r"^The table says .*which a config would evaluate"):
        check_literal(wrap(text), "The table")


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_passes(text: str) -> None:
    assert check_literal({"a": [text, 1, 2.5, None, True]}, "The table") == {"a": [text, 1, 2.5, None, True]}


@pytest.mark.parametrize(
    "key", ["_target_", "_requires_", "_mode_", "_disabled_", "_anything_", "$x", "@x", "+x", "a#b", "a::b"]
)
def test_a_key_that_builds_or_reaches_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="means something else in a config"):
        check_literal([{"fine": {key: "x"}}], "The request")


def test_an_object_is_refused_and_depth_is_no_way_round() -> None:
    with pytest.raises(ConfigError, match="holds 'object', where text and numbers are expected"):
        check_literal([object()], "The request")
    deep: Any = "$1"
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(ConfigError, match="would evaluate"):
        check_literal(deep, "The request")


@given(st.text(alphabet="$@%#:+_ \n\tab0(){}'\"", max_size=12))
def test_what_passes_is_what_the_config_gives(text: str) -> None:
    if is_literal(text):
        given_ = ConfigParser({"a": 1, "b": {"a": 2}, "value": [text]}).get_parsed_content("value")
        assert given_ == [text.replace("#", "::")]  # MONAI's only other change; see `unread` for names


@given(st.text(alphabet="$@%#:+_ ab0()", max_size=12))
def test_unread_items_stay_what_they_are(text: str) -> None:
    items = [{"ct": text, "_target_": text}]
    parser = ConfigParser({"data": unread(items), "dataset": {"_target_": "Dataset", "data": "@data"}})
    assert parser.get_parsed_content("dataset")[0] == items[0]
    assert parser.get_parsed_content("data") == tuple(items)


def test_texts_of_a_datalist_and_names_of_files_are_data(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    names = ["$__import__('os').system('touch marker')", "@device", "%network_def", "a@#b #12"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "ct.nii.gz").touch()
    entries = [{"patient": f"{evil(marker)} {n}", "ct": f"{name}/ct.nii.gz"} for n, name in enumerate(names)]
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"labelled": entries}))
    config = {
        "device": "cpu",
        "data": {
            "_target_": "spinefuse_ext.data.load_datalist",
            "datalist": str(path),
            "sections": ["labelled"],
            "keys": ["ct"],
            "base_dir": str(tmp_path),
        },
        "dataset": {
            "_target_": "spinefuse_ext.data.dataset.make_dataset",
            "data": "@data",
            "transform": "$lambda x: x",
            "cache": "none",
        },
        "again": "$list(@data)",
    }
    parser = ConfigParser(config)
    items = parser.get_parsed_content("again")
    assert [item["ct"] for item in items] == [str(tmp_path / name / "ct.nii.gz") for name in names]
    assert [item["patient"] for item in items] == [entry["patient"] for entry in entries]
    assert [parser.get_parsed_content("dataset")[n] for n in range(len(names))] == items
    assert items == load_datalist(path, ["labelled"], ["ct"], base_dir=tmp_path)
    assert len(make_dataset(items, dict, "none")) == len(names)
    assert not marker.exists()
    assert not Path("marker").exists()
