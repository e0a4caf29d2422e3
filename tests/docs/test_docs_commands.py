"""The pages speak of what is there: verbs, options, config ids, defaults, public names and link targets."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

import spinefuse_ext
from spinefuse_ext.__main__ import VERBS
from spinefuse_ext.comparison.compare import TASKS
from spinefuse_ext.comparison.methods import plan_methods
from spinefuse_ext.runs.overrides import check_overrides
from spinefuse_ext.verbs.commands import BUNDLES

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    + [ROOT / "README.md", *ROOT.glob("bundles/*/docs/README.md")]
)
FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
SHELL = {"bash", "sh", "shell", "console"}
#: Configs that a verb combines, by its task; ``fuse``, ``segment`` and ``benchmark`` have a fixed task.
CONFIGS = {
    **{verb: ["train.json"] for verb in ("train", "compare", "federate")},
    "evaluate": ["train.json", "evaluate.json"],
}
INFERENCE = {"fuse": "fusion", "segment": "semiseg", "benchmark": "semiseg"}
PLACEHOLDERS = {"VERB", "verb", "..."}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def _shell_lines(text: str) -> Iterator[str]:
    """Commands of the shell blocks, continued lines joined, ``NAME="..."`` variables put in."""
    for block in FENCE.finditer(text):
        if block["language"] not in SHELL:
            continue
        variables: dict[str, str] = {}
        for line in block["text"].replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            assigned = re.fullmatch(r'([A-Z]+)="(.*)"', line)
            if assigned:
                variables[assigned[1]] = assigned[2]
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            yield from re.split(r"\s(?:&&|\||;)\s", line)


def _words(line: str) -> list[str]:
    """Words of a line without its comment; a ``#`` inside a word belongs to a config id."""
    return shlex.split(re.sub(r"(^|\s)#.*", "", line))


def _spinefuse(line: str) -> list[str] | None:
    """Arguments after ``spinefuse``, also for a path to it and ``python -m spinefuse_ext``; None for other lines."""
    words = _words(line.replace("$(basename $case)", "case"))
    if words and Path(words[0]).name == "spinefuse":
        return words[1:]
    return words[3:] if words[1:3] == ["-m", "spinefuse_ext"] else None


def _split(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Positional arguments and options as fire reads them."""
    places: list[str] = []
    options: dict[str, str] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            places.append(word)
        elif "=" in word:
            name, _, options[name] = word[2:].partition("=")
        else:
            options[word[2:]] = queue.pop(0) if queue and not queue[0].startswith("--") else "True"
    return places, {name: value for name, value in options.items() if name not in ("help", "debug")}


def _function(verb: str) -> Callable[..., Any]:
    module, name = VERBS[verb][0].split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _check_ids(files: list[Path], ids: list[str]) -> None:
    """Raise unless every id names a place of the merged configs, or a parameter of a component in them."""
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    for name in ids:
        parent = name.rpartition("#")[0]
        assert not parent or parent in parser, f"{name}: no config defines {parent}"
        parser[name] = None
    check_overrides(parser.get(), files[0].parent)


def _check_command(words: list[str], *, whole: bool) -> None:
    verb, (places, options) = words[0], _split(words[1:])
    if verb == "help":
        return
    assert verb in VERBS, f"{verb} is no verb"
    function = _function(verb)
    parameters = inspect.signature(function).parameters
    foreign = [name for name in options if name not in parameters or parameters[name].kind.name == "VAR_KEYWORD"]
    if foreign:
        task = INFERENCE.get(verb) or (places[0] if places else options.get("task", ""))
        if verb == "compare":  # a setting may be known to one of the methods only
            plan_methods(TASKS[task].methods, ROOT / "bundles" / BUNDLES[TASKS[task].task], dict.fromkeys(foreign))
            return
        assert task in BUNDLES, f"{verb} has no option {', '.join(foreign)}"
        files = CONFIGS.get(verb, ["inference.json"])
        _check_ids([ROOT / "bundles" / BUNDLES[task] / "configs" / file for file in files], foreign)
    if whole:
        inspect.signature(function).bind(*places, **options)


@pages
def test_commands_in_blocks_are_complete_and_their_options_exist(page: Path) -> None:
    for line in _shell_lines(page.read_text(encoding="utf-8")):
        words = _spinefuse(line)
        if words and words[0] not in PLACEHOLDERS and not words[0].startswith("-"):
            _check_command(words, whole="--help" not in words)


@pages
def test_commands_in_the_text_are_verbs_with_options_that_exist(page: Path) -> None:
    for code in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        words = _spinefuse(code) if code.startswith(("spinefuse ", "python -m spinefuse_ext ")) else None
        if words and words[0] not in PLACEHOLDERS and not words[0].startswith("-"):
            _check_command(words, whole=False)


@pages
def test_bundle_commands_name_configs_and_ids_that_exist(page: Path) -> None:
    for line in _shell_lines(page.read_text(encoding="utf-8")):
        if "monai.bundle run" not in line:
            continue
        words = _words(line)
        options = _split(words[words.index("monai.bundle") + 2 :])[1]  # those before are torchrun's
        listed = options.pop("config_file")
        names = json.loads(listed.replace("'", '"')) if listed.startswith("[") else [listed]
        files = [ROOT / name for name in names if name.startswith("bundles/")]  # others stand for the reader's own
        assert files, f"no bundle config in: {line}"
        assert [file for file in files if not file.is_file()] == []
        _check_ids(files, list(options))


def test_the_overrides_that_the_config_page_suggests_exist() -> None:
    table = (ROOT / "docs" / "how-to" / "change-by-config.md").read_text(encoding="utf-8").split("## Examples")[1]
    ids = [name for code in INLINE.findall(table) for name in _split(_words(code))[1]]
    assert len(ids) >= 5
    _check_ids([ROOT / "bundles" / BUNDLES["fusion"] / "configs" / "train.json"], ids)


@pages
def test_link_targets_exist(page: Path) -> None:
    for link in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / link["path"]).resolve() if link["path"] else page
        assert target.exists(), f"{link[0]} leads nowhere"
        if link["anchor"] and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings]
            assert link["anchor"] in slugs, f"{link[0]}: {target.name} has no such heading"


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_page_describes_every_verb_and_argument(verb: str) -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {verb}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"no section on {verb}"
    for parameter in inspect.signature(_function(verb)).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert re.search(rf"`(--)?{parameter.name}`", section[1]), f"{verb}: {parameter.name} is not described"


@pytest.mark.parametrize("bundle", BUNDLES.values())
def test_the_config_page_lists_every_top_level_id_with_its_default(bundle: str) -> None:
    page = (ROOT / "docs" / "reference" / "config-ids.md").read_text(encoding="utf-8")
    section = page.split(f"## `{bundle}`")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    configs = ROOT / "bundles" / bundle / "configs"
    files = [configs / f"{name}.json" for name in ("evaluate", "inference", "train")]
    evaluate, inference, train = map(ConfigParser.load_config_file, files)
    ids = {**{name: value for name, value in evaluate.items() if "#" not in name}, **inference, **train}
    assert set(rows) == {name for name in ids if not name.startswith("_")}
    for name, value in ids.items():
        components = isinstance(value, list) and any(isinstance(entry, dict) for entry in value)
        if not isinstance(value, dict) and not components and name not in ("initialize", "run"):
            assert rows[name].strip("`") == json.dumps(value), f"{name} has another default"


def test_the_api_page_covers_every_package_with_public_names() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    folder = Path(spinefuse_ext.__file__).parent
    public = {path.parent.name for path in folder.glob("*/__init__.py") if "__all__" in path.read_text("utf-8")}
    assert public == set(re.findall(r"^## `spinefuse_ext\.(\w+)`", page, re.MULTILINE))


@pytest.mark.parametrize("bundle", BUNDLES.values())
def test_a_bundle_readme_has_a_command_for_every_config(bundle: str) -> None:
    readme = (ROOT / "bundles" / bundle / "docs" / "README.md").read_text(encoding="utf-8")
    commands = [line for line in _shell_lines(readme) if "monai.bundle run" in line]
    for config in (ROOT / "bundles" / bundle / "configs").glob("*.json"):
        if config.name != "metadata.json":
            assert any(config.name in line for line in commands), f"no command for {config.name}"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param("spinefuse fly", "fly is no verb", id="verb"),
        pytest.param("spinefuse phantom out --patients 3", "no option patients", id="option"),
        pytest.param("spinefuse train fusion --dataset_dir a --out b --epoch 2", "Did you mean epochs", id="config-id"),
        pytest.param("spinefuse train fusion a b --train#loader#x 2", "no config defines", id="parent"),
        pytest.param("spinefuse fuse --ct a --out c", "mr", id="missing-argument"),
        pytest.param("spinefuse compare fusion --dataset_dir a --out b --epoch 2", "Did you mean epochs", id="compare"),
    ],
)
def test_these_checks_notice_a_wrong_command(command: str, message: str) -> None:
    words = _spinefuse(command)
    assert words is not None
    with pytest.raises((AssertionError, ValueError, TypeError), match=message):
        _check_command(words, whole=True)
