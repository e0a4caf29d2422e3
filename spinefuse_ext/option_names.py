"""Options that a verb does not have, found in the text of its function and of the configs: PyTorch is not needed."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from spinefuse_ext.bundle_places import BUNDLES, bundle_places
from spinefuse_ext.verb_help import ALWAYS, find_definition, verb_options

#: A word that is an option; -5 is a number.
OPTION = re.compile(r"--.+|-[a-zA-Z].*", re.DOTALL)
#: What ``monai.bundle run`` takes beside overrides.
RUN_OPTIONS = ("run_id", "init_id", "final_id", "meta_file", "logging_file", "tracking", "args_file")
#: Options of other programs, and what a verb calls the same.
_ELSEWHERE: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("i", "input", "input_dir", "in"), ("image", "ct", "dataset_dir", "root", "folder")),
    **dict.fromkeys(("o", "output", "output_folder", "out_dir"), ("out",)),
    **dict.fromkeys(("data", "data_dir", "dataset"), ("dataset_dir",)),
    **dict.fromkeys(("weights", "ckpt"), ("checkpoint",)),
}
#: Options with which a run may know settings that no JSON file of the bundles holds.
_FURTHER = ("bundle", "delta", *RUN_OPTIONS)
_SWITCHES = [word.lstrip("-") for word in ALWAYS]
_COMPLETE = ("train.json", "inference.json")
_REFERENCE = re.compile(r"[@%](\w+)")


def nearest_name(spelled: str, options: Sequence[str], others: Iterable[str] = ()) -> str | None:
    """What somebody meant who spelled a name that is none: the nearest of ``options`` and ``others``, or None."""
    elsewhere = next((name for name in _ELSEWHERE.get(spelled, ()) if name in options), None)
    if elsewhere is not None:
        return elsewhere
    return next(iter(difflib.get_close_matches(spelled, [*options, *others], n=1)), None)


def unknown_option(verb: str, function: str, words: Sequence[str]) -> str | None:
    """One sentence on the first option among ``words`` that a verb does not have, nor any config as a setting.

    None when there is no such option, or when it takes more than names to tell.

    Args:
        verb: its name.
        function: where it stands, ``module:name``.
        words: of the command line, after the verb.
    """
    try:
        options = verb_options(function)
        node = find_definition(*function.split(":"))[1]
    except (LookupError, ValueError):
        return None
    names = [one.name for one in options]
    plain = {*names, *(f"no{one.name}" for one in options if one.kind == "bool"), *_single_letters(names)}
    end = list(words).index("--") if "--" in words else len(words)
    given = [_name(word) for word in words[:end] if OPTION.fullmatch(word)]
    foreign = [name for name in given if name not in plain]
    if not foreign:
        return None
    if not (isinstance(node, ast.FunctionDef) and node.args.kwarg):
        near = nearest_name(foreign[0], names, _SWITCHES)
        return near and f"`spinefuse {verb}` has no option --{foreign[0]}; did you mean --{near}?"
    if any(name.startswith("_") or name in _FURTHER for name in given):
        return None
    ids: set[str] = set()
    for path in _config_files():
        found = _config_ids(path)
        ids |= found
        if not found or all(_is_id(name, ids) for name in foreign):
            return None
    unknown = next((name for name in foreign if not _is_id(name, ids)), None)
    return None if unknown is None or not ids else _sentence(verb, unknown, names, ids)


def _sentence(verb: str, unknown: str, names: Sequence[str], ids: Collection[str]) -> str:
    told = f"`spinefuse {verb}` has no option --{unknown}, and no config defines such a setting"
    near = nearest_name(unknown, [*names, *_SWITCHES], sorted(ids))
    if near is None:
        return f"{told}; `spinefuse {verb} --help` lists the options, docs/reference/config-ids.md the settings."
    if near in names or near in _SWITCHES:
        return f"{told}; did you mean --{near}?"
    return f"No config defines the setting {unknown}, so it would be ignored. Did you mean {near}?"


def _name(word: str) -> str:
    return word.lstrip("-").partition("=")[0].replace("-", "_")


def _single_letters(names: Sequence[str]) -> list[str]:
    """Letters that one option alone begins with; they stand for it."""
    letters = [name[0] for name in names]
    return [letter for letter in letters if letters.count(letter) == 1]


def _is_id(name: str, ids: Collection[str]) -> bool:
    first = re.split("#|::", name)[0]
    return first in ids or (first.startswith("no") and first[2:] in ids)


def _config_files() -> list[Path]:
    """The configs of the bundles; the complete ones, where most settings stand, come first."""
    folders = [place / name / "configs" for place in bundle_places() for name in BUNDLES.values()]
    paths = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return sorted(paths, key=lambda path: path.name not in _COMPLETE)


def _config_ids(path: Path) -> set[str]:
    """First parts of all ids that a config defines or refers to; none when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return {re.split("#|::", key.lstrip("+"))[0] for key in json.loads(text)} | set(_REFERENCE.findall(text))
    except (OSError, ValueError):
        return set()
