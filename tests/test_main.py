from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spinefuse_ext import __version__
from spinefuse_ext.__main__ import VERBS, main
from spinefuse_ext.option_names import unknown_option


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_documented_function(verb: str) -> None:
    module, name = VERBS[verb][0].split(":")
    function = getattr(importlib.import_module(module), name)
    assert callable(function)
    assert function.__doc__


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"], ["-h"]])
def test_help_lists_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    shown = capsys.readouterr().out
    assert shown.startswith("usage: spinefuse VERB")
    for verb, (_, what) in VERBS.items():
        assert f"  {verb} " in shown
        assert what in shown


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_its_options_and_runs_nothing(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main([verb, "--help"])
    shown = capsys.readouterr().out
    assert f"spinefuse {verb}" in shown
    module, name = VERBS[verb][0].split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    options = [one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]
    assert [option for option in options if option not in shown.lower()] == []
    assert not list(tmp_path.iterdir())


def test_help_needs_no_heavy_import() -> None:
    code = "import sys; from spinefuse_ext.__main__ import main; main(['help']); print('itk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_verb_gets_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (tmp_path / f"case_{number}").mkdir()
        (tmp_path / f"case_{number}" / "ct.nii.gz").touch()
    main(["datalist", str(tmp_path), "--validation", "1", "--test=1", "--out", str(tmp_path / "list.json")])
    assert (tmp_path / "list.json").is_file()
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'list.json'}.\n"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_bad_input_is_one_line_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = refused(["datalist", str(tmp_path / "gone")], capsys)
    assert shown.startswith(f"spinefuse: The folder of cases {tmp_path / 'gone'} does not exist")
    assert shown.count("\n") == 1


def test_a_misspelt_verb_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    shown = refused(["segmnet", "--help"], capsys)
    assert shown == "spinefuse: unknown verb segmnet; did you mean segment? `spinefuse help` lists all.\n"


@pytest.mark.parametrize("words", [["--version"], ["--version", "--verbose"]])
def test_the_version_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    assert capsys.readouterr().out == f"spinefuse {__version__}\n"


@pytest.mark.parametrize("words", [["help", "segment"], ["--help", "segment"], ["segment", "x", "-h"]])
def test_help_of_one_verb_is_asked_for_in_any_order(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    assert capsys.readouterr().out.startswith("usage: spinefuse segment ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segment", "--input", "x", "--output", "y"], "has no option --input, and .* did you mean --image?"),
        (["segment", "--image", "x", "--output", "y"], "has no option --output, and .* did you mean --out?"),
        (["fuse", "--input", "x", "--out", "y"], "has no option --input, and .* did you mean --ct?"),
        (["train", "fusion", "--dataset_dri", "x", "--out", "y"], "no option --dataset_dri, .* --dataset_dir?"),
        (["fuse", "a", "b", "c", "--ct_landmark", "x"], "no option --ct_landmark, .* --ct_landmarks?"),
        (["segment", "--image", "x", "--out", "y", "--canvass", "5"], "the setting canvass, .* canvas?"),
        (["segment", "--image", "x", "--hlep"], "no option --hlep, and .* did you mean --help?"),
        (["register", "--hlep"], "no option --hlep; did you mean --help?"),
        (
            ["segment", "--image", "x", "--zzzz", "5"],
            "no option --zzzz, .* `spinefuse segment --help` lists the options",
        ),
    ],
)
def test_an_option_of_a_verb_with_settings_is_refused_with_the_nearest(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "x"):
        (tmp_path / name).touch()
    assert re.search(message.replace("?", r"\?"), refused(words, capsys))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "x"]


def test_an_unknown_option_is_told_without_importing_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from spinefuse_ext.__main__ import main\n"
        "try: main(['segment', '--image', 'x', '--out', 'y', '--canvass', '5'])\n"
        "except SystemExit as end: print(end.code, sorted({'torch', 'monai'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout == "2 []\n"
    assert "Did you mean canvas?" in told.stderr
    assert len(told.stderr) < 200


def test_what_a_config_of_the_bundles_knows_is_no_unknown_option() -> None:
    for verb, words in {
        "segment": ["--canvas=[64,64]", "--nosave_seg", "--i", "x", "--network_def#dim", "3"],
        "fuse": ["--of_my_own_file", "--delta", "d.json"],
        "train": ["fusion", "--epochs", "2", "--learning-rate", "0.1", "--", "--not_read"],
        "register": ["--ct", "x", "--norefine"],
        "datalist": ["--validation", "-5"],
    }.items():
        assert unknown_option(verb, VERBS[verb][0], words) is None, verb


def test_a_setting_of_a_complete_config_is_found_without_reading_the_deltas(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--epochs 2`` read every config of both bundles."""
    read: list[str] = []
    read_text = Path.read_text

    def note(path: Path, *arguments: str, **options: str) -> str:
        read.append(path.name)
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", note)
    assert unknown_option("train", VERBS["train"][0], ["fusion", "--epochs", "2"]) is None
    assert {name for name in read if name.endswith(".json")} <= {"train.json", "inference.json"}


def test_an_unknown_verb_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    shown = refused(["tea"], capsys)
    assert shown.startswith("spinefuse: unknown verb tea; choose one of phantom, ")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--validaton", "1"], "has no option --validaton; did you mean --validation?"),
        (["--sed=3"], "has no option --sed; did you mean --seed?"),
        (["--qqq", "3"], "has no option --qqq; did you mean --root, --out, --split, "),
    ],
)
def test_a_misspelt_option_is_refused_before_the_work_starts(
    option: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (tmp_path / f"case_{number}").mkdir()
        (tmp_path / f"case_{number}" / "ct.nii.gz").touch()
    shown = refused(["datalist", str(tmp_path), *option], capsys)
    assert shown.startswith("spinefuse: `spinefuse datalist` " + message)
    assert shown.count("\n") == 1
    assert not (tmp_path / "datalist.json").exists()


def test_an_absent_argument_has_status_2_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "root" in refused(["datalist"], capsys)


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        main(["--debug", "datalist", str(tmp_path / "gone")])


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "crash", ("operator:truediv", "divide"))
    with pytest.raises(ZeroDivisionError):
        main(["crash", "1", "0"])


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(root: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spinefuse_ext.data.make_datalist", stop)
    with pytest.raises(SystemExit) as stopped:
        main(["datalist", "cases"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err.strip() == "spinefuse: datalist was stopped."
    with pytest.raises(KeyboardInterrupt):
        main(["datalist", "cases", "--debug"])


@pytest.mark.parametrize("name", ["2024", "2024_05", "Doe,John", "[a]", "None", "1e5", "007", "run#2", "$x", "@y", "~"])
def test_a_folder_of_any_name_is_that_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "case").mkdir(parents=True)
    (tmp_path / name / "case" / "ct.nii.gz").touch()
    main(["datalist", name, "--validation", "0", "--out", f"{name}.json"])
    assert (tmp_path / f"{name}.json").is_file()
    assert f"{name} is a folder" in refused(["datalist", name, "--out", name], capsys)


def test_a_word_too_many_is_refused_before_the_work_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "ct.nii.gz").touch()
    shown = refused(["datalist", str(tmp_path), "--validation", "0", str(tmp_path / "a.json"), "exists"], capsys)
    assert shown.startswith("spinefuse: `spinefuse datalist` has no use for the word 'exists'")
    assert not (tmp_path / "a.json").exists()
