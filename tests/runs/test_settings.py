from __future__ import annotations

from pathlib import Path
from typing import Any

import fire
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from spinefuse_ext.runs.command import bundle_command
from spinefuse_ext.runs.settings import config_value, literal, typed_settings
from spinefuse_ext.validation import ConfigError

BUNDLES = Path(__file__).parents[2] / "bundles"
#: Names that MONAI's parser or python-fire would read as more than text.
NAMES = [
    *("run#2", "#", "##", "@#x", "@::x", "%#x", "a@#b", "a%::b", "a::b", "$x", "@bundle_root", "%bundle_root", "2024"),
    *(
        "1e5",
        "None",
        "[a]",
        "Doe,John",
        "it's",
        '"q"',
        'it\'s "q" #',
        "a\\#b",
        "a\\",
        "Grün#",
        "脊柱",
        "a  b",
        "a\nb",
        "~",
    ),
    *("\udce9#", "$(id)", "`id`", "a import b#", "{x}", "-x"),
]


def config(**values: Any) -> ConfigParser:
    return ConfigParser(dict(values))


def arrived(command: list[str]) -> ConfigParser:
    """The config as the process that ``command`` starts reads it."""
    read: dict[str, Any] = {}
    fire.Fire(lambda **options: read.update(options), command=command[4:])
    parser = ConfigParser()
    parser.read_config(read.pop("config_file"))
    parser.update(read)
    return parser


@pytest.mark.parametrize("name", NAMES)
def test_a_path_with_any_name_arrives_in_the_bundle_as_it_is(name: str) -> None:
    path = f"/data/{name}"
    given = {"output_dir": path, "dataset_dir": path, "dataset#data": [{"ct": path, "mr": f"{path}/mr.nii"}]}
    parser = arrived(bundle_command(BUNDLES / "spine_fusion", ["inference.json"], given))
    assert [parser.get_parsed_content(key) for key in ("output_dir", "dataset_dir")] == [path, path]
    assert parser.get_parsed_content("dataset#data") == [{"ct": path, "mr": f"{path}/mr.nii"}]
    assert parser.get_parsed_content("dataset").data == [{"ct": path, "mr": f"{path}/mr.nii"}]


@settings(deadline=None, max_examples=200)
@given(text=st.text(st.characters(exclude_characters="\0"), max_size=12))
def test_a_literal_is_the_text_whatever_it_holds(text: str) -> None:
    assert ConfigParser({"a": literal(text)}).get_parsed_content("a") == text
    assert ConfigParser({"a": config_value(f"/{text}")}).get_parsed_content("a") == f"/{text}"


def test_expressions_and_references_stay_what_a_config_means_by_them() -> None:
    for text in ("$1 + 1", "@bundle_root", "%network_def", "$@a#b"):
        assert config_value(text) == text
        assert typed_settings(config(device="$None"), {"device": text}) == {"device": text}


@pytest.mark.parametrize(
    ("known", "text", "value"),
    [
        ("datalist.json", "2024", "2024"),
        ("rigid", "None", "None"),
        ("rigid", "[a]", "[a]"),
        (3, "4", 4),
        (3, "None", None),
        (0.1, "1e-3", 0.001),
        (0.1, "1", 1),
        (False, "yes", True),
        (False, "False", False),
        ([512, 512], "128,128", [128, 128]),
        ([512, 512], "[128, 128]", [128, 128]),
        (["fused"], "mr", ["mr"]),
        (["fused"], "ct,mr", ["ct", "mr"]),
        ({"a": 1}, "{'a': 2}", {"a": 2}),
        (None, "2", 2),
        ("$@x", "cuda:0", "cuda:0"),
    ],
)
def test_a_setting_is_read_as_what_the_config_holds_there(known: Any, text: str, value: Any) -> None:
    read = typed_settings(config(place=known), {"place": text})["place"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("name", ["output_dir", "checkpoint", "ckpt_dir", "datalist"])
def test_paths_are_text_although_the_config_holds_an_expression(name: str) -> None:
    assert typed_settings(config(**{name: "$@bundle_root + '/x'"}), {name: "2024"}) == {name: "2024"}


@pytest.mark.parametrize(
    ("known", "text", "message"),
    [
        (3, "2.5", "The setting place takes a whole number, got 2.5"),
        (3, "three", "The setting place takes a whole number, got three"),
        (0.1, "2,5", "The setting place takes a number with a decimal point, got 2,5"),
        (True, "maybe", "The setting place takes True or False, got maybe"),
        ([512, 512], "128", r"The setting place takes a list such as \[512, 512\], got 128"),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused(known: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        typed_settings(config(place=known), {"place": text})


def test_a_flag_is_denied_by_no() -> None:
    assert typed_settings(config(amp=True, noise=1), {"noamp": True, "noise": True}) == {"amp": False, "noise": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            '{"_target_": "DiceLoss", "softmax": true, "weight": null}',
            {"_target_": "DiceLoss", "softmax": True, "weight": None},
        ),
        ("{'_target_': 'DiceLoss', 'softmax': True}", {"_target_": "DiceLoss", "softmax": True}),
        ("{_target_: DiceLoss}", {"_target_": "DiceLoss"}),
        ("[true, 2]", [True, 2]),
    ],
)
def test_a_component_may_be_typed_as_a_config_file_has_it(text: str, value: Any) -> None:
    """``true`` was the word, which a component took for a text."""
    assert typed_settings(config(loss={"_target_": "Other"}), {"loss": text}) == {"loss": value}
