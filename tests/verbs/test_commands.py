from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fire
import pytest
from monai.bundle import create_workflow

from spinefuse_ext import bundle_places
from spinefuse_ext.validation import ConfigError, MissingPathError, OutputError, SpinefuseError
from spinefuse_ext.verbs.commands import bundle_command, evaluate, find_bundle, fuse, run_bundle, segment, train

BUNDLES = Path(__file__).parents[2] / "bundles"
MISSPELT: dict[str, Any] = {"networkdef#dim": 8}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ct.nii.gz", "mr.nii.gz", "fused.nii.gz", "model.pt"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Every bundle run that a verb starts, as its options by name; nothing is really run."""
    runs: list[dict[str, str]] = []

    @contextmanager
    def note(bundle: Path, configs: Sequence[str], overrides: dict[str, Any]) -> Iterator[Any]:
        command = bundle_command(bundle, configs, overrides)
        assert command[:4] == [sys.executable, "-m", "monai.bundle", "run"]
        names, values = command[4::2], command[5::2]
        runs.append({name.removeprefix("--"): value for name, value in zip(names, values, strict=True)})
        yield SimpleNamespace(run=lambda: None, finalize=lambda: None)

    monkeypatch.setattr("spinefuse_ext.runs.run.open_workflow", note)
    return runs


def test_training_runs_train_json_and_the_deltas_with_absolute_paths(
    files: Path, started: list[dict[str, str]]
) -> None:
    train("semiseg", "data", "run", delta="evaluate.json", epochs=2, canvas=[64, 80], **{"network_def#output": "unet"})
    (run,) = started
    configs = BUNDLES / "spine_semiseg" / "configs"
    assert run == {
        "config_file": str([str(configs / "train.json"), str(configs / "evaluate.json")]),
        "bundle_root": str(BUNDLES / "spine_semiseg"),
        "dataset_dir": str(files / "data"),
        "ckpt_dir": str(files / "run" / "models"),
        "output_dir": str(files / "run" / "eval"),
        "epochs": "2",
        "canvas": "[64, 80]",
        "network_def#output": "unet",
    }


def test_one_config_is_given_plainly_and_a_delta_may_be_a_file_of_ones_own(
    files: Path, started: list[dict[str, str]]
) -> None:
    (files / "mine.json").write_text("{}")
    train("fusion", "data", "run")
    train("fusion", "data", "run", delta=["mine.json"])
    assert started[0]["config_file"] == str(BUNDLES / "spine_fusion" / "configs" / "train.json")
    assert "'mine.json'" in started[1]["config_file"]


def test_evaluation_adds_its_delta_and_the_checkpoint(files: Path, started: list[dict[str, str]]) -> None:
    evaluate("fusion", "data", "scores", "model.pt")
    (run,) = started
    assert run["config_file"].endswith("evaluate.json']")
    assert (run["output_dir"], run["checkpoint"]) == (str(files / "scores"), str(files / "model.pt"))


def test_fuse_and_segment_name_the_images_they_were_given(files: Path, started: list[dict[str, str]]) -> None:
    fuse("ct.nii.gz", "mr.nii.gz", "out", checkpoint="model.pt")
    segment("fused.nii.gz", "out", checkpoint="model.pt", image_keys=["mr"])
    fusion, segmentation = started
    assert json.loads(fusion["dataset#data"]) == [{"ct": str(files / "ct.nii.gz"), "mr": str(files / "mr.nii.gz")}]
    assert json.loads(segmentation["dataset#data"]) == [{"mr": str(files / "fused.nii.gz")}]
    for run in started:
        assert run["config_file"].endswith("inference.json")
        assert (run["dataset_dir"], run["output_dir"]) == (str(files), str(files / "out"))


def test_fuse_names_the_series_on_which_the_fused_one_shall_lie(files: Path, started: list[dict[str, str]]) -> None:
    (files / "ct").mkdir()
    fuse("ct.nii.gz", "mr.nii.gz", "out", checkpoint="model.pt", dicom="ct")
    pair = {name: str(files / f"{name}.nii.gz") for name in ("ct", "mr")}
    assert json.loads(started[0]["dataset#data"]) == [{**pair, "dicom": str(files / "ct")}]


@pytest.mark.parametrize("verb", ["train", "evaluate", "fuse", "segment"])
def test_nothing_is_started_that_could_not_write(verb: str, files: Path, started: list[dict[str, str]]) -> None:
    calls: dict[str, Callable[[], None]] = {
        "train": lambda: train("fusion", "data", "ct.nii.gz"),
        "evaluate": lambda: evaluate("fusion", "data", "ct.nii.gz", "model.pt"),
        "fuse": lambda: fuse("ct.nii.gz", "mr.nii.gz", "ct.nii.gz", checkpoint="model.pt"),
        "segment": lambda: segment("fused.nii.gz", "ct.nii.gz", checkpoint="model.pt"),
    }
    with pytest.raises(OutputError, match=r"The output folder .*ct.nii.gz is a file; name a folder"):
        calls[verb]()
    assert not started


def test_segment_names_the_series_to_which_a_dicom_seg_shall_refer(files: Path, started: list[dict[str, str]]) -> None:
    (files / "ct").mkdir()
    segment("fused.nii.gz", "out", checkpoint="model.pt", dicom="ct")
    assert json.loads(started[0]["dataset#data"]) == [
        {"fused": str(files / "fused.nii.gz"), "dicom": str(files / "ct")}
    ]


def test_segment_fuses_a_pair_first_and_refers_to_a_ct_that_is_dicom(
    files: Path, started: list[dict[str, str]]
) -> None:
    (files / "scan").mkdir()
    (files / "fusion.pt").touch()
    (files / "a.fcsv").touch()
    pair = {"ct": "scan", "mr": "mr.nii.gz", "fusion_checkpoint": "fusion.pt"}
    segment(out="out", checkpoint="model.pt", ct_landmarks="a.fcsv", mr_landmarks="a.fcsv", **pair)
    segment(out="out", checkpoint="model.pt", **{**pair, "ct": "ct.nii.gz"})
    fusion, segmentation, _, without = started
    assert json.loads(fusion["dataset#data"]) == [
        {
            "ct": str(files / "scan"),
            "mr": str(files / "mr.nii.gz"),
            **{f"{name}_landmarks": str(files / "a.fcsv") for name in ("ct", "mr")},
        }
    ]
    assert fusion["checkpoint"] == str(files / "fusion.pt")
    fused = {"fused": str(files / "out" / "fused.nii.gz")}
    assert json.loads(segmentation["dataset#data"]) == [{**fused, "dicom": str(files / "scan")}]
    assert segmentation["checkpoint"] == str(files / "model.pt")
    assert json.loads(without["dataset#data"]) == [fused]


def test_segment_gives_a_pair_to_a_network_that_sees_both(files: Path, started: list[dict[str, str]]) -> None:
    (files / "scan").mkdir()
    (files / "a.fcsv").touch()
    pair = {"ct": "scan", "mr": "mr.nii.gz", "delta": "each_image.json"}
    segment(out="out", checkpoint="model.pt", ct_landmarks="a.fcsv", mr_landmarks="a.fcsv", **pair)
    (run,) = started
    assert run["config_file"].endswith("each_image.json']")
    assert json.loads(run["dataset#data"]) == [
        {
            "ct": str(files / "scan"),
            "mr": str(files / "mr.nii.gz"),
            **{f"{name}_landmarks": str(files / "a.fcsv") for name in ("ct", "mr")},
            "dicom": str(files / "scan"),
        }
    ]
    with pytest.raises(ConfigError, match="nothing is fused; leave --fusion_checkpoint out"):
        segment(out="out", checkpoint="model.pt", fusion_checkpoint="model.pt", **pair)


def test_without_a_checkpoint_the_weights_of_the_bundles_are_taken(files: Path, started: list[dict[str, str]]) -> None:
    segment(out="out", ct="ct.nii.gz", mr="mr.nii.gz", fused=True)
    assert [run["checkpoint"] for run in started] == [
        str(BUNDLES / name / "models" / "model.pt") for name in ("spine_fusion", "spine_semiseg")
    ]


def test_the_shipped_network_sees_both_images_of_a_pair_and_no_fused_one(
    files: Path, started: list[dict[str, str]]
) -> None:
    segment(out="out", ct="ct.nii.gz", mr="mr.nii.gz")
    (run,) = started
    assert run["config_file"].endswith("each_image.json']")
    with pytest.raises(ConfigError, match="got --image and --fused; leave one out"):
        segment("fused.nii.gz", "out", fused=True)
    with pytest.raises(ConfigError, match="nothing is fused; leave --fused out"):
        segment(out="out", ct="ct.nii.gz", mr="mr.nii.gz", delta="each_image.json", fused=True)


@pytest.mark.parametrize("own", [{"checkpoint": "model.pt"}, {"fusion_checkpoint": "model.pt"}])
def test_weights_of_ones_own_see_the_fused_image(
    files: Path, started: list[dict[str, str]], own: dict[str, str]
) -> None:
    segment(out="out", ct="ct.nii.gz", mr="mr.nii.gz", **own)
    assert len(started) == 2


def test_a_bundle_without_weights_asks_for_a_checkpoint(files: Path, started: list[dict[str, str]]) -> None:
    (files / "empty").mkdir()
    with pytest.raises(MissingPathError, match=r"No --checkpoint was given.*model\.pt does not exist"):
        fuse("ct.nii.gz", "mr.nii.gz", "out", bundle="empty")
    assert not started


def test_a_method_is_scored_and_segments_with_the_delta_it_was_trained_with(
    files: Path, started: list[dict[str, str]]
) -> None:
    evaluate("semiseg", "data", "out", "model.pt", delta="supervised_unet.json")
    segment("fused.nii.gz", "out", checkpoint="model.pt", delta=["supervised_unet.json"])
    configs = BUNDLES / "spine_semiseg" / "configs"
    for run, names in zip(
        started, (("train", "supervised_unet", "evaluate"), ("inference", "supervised_unet")), strict=True
    ):
        assert run["config_file"] == str([str(configs / f"{name}.json") for name in names])


def test_the_command_is_shown_as_one_line_that_a_shell_understands(
    started: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    line = run_bundle(BUNDLES / "spine_fusion", ["train.json"], {"canvas": [64, 64], "dataset_dir": "my data"})
    assert capsys.readouterr().out == f"$ {line}\n"
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "monai.bundle", "run"]
    assert words[words.index("--canvas") + 1] == "[64, 64]"
    assert words[words.index("--dataset_dir") + 1] == "my data"


def test_the_status_of_a_process_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 7))
    with pytest.raises(SystemExit) as ended:
        run_bundle(BUNDLES / "spine_fusion", ["train.json"], {}, process=True)
    assert ended.value.code == 7


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: train("seg", "data", "run"), ConfigError, "Unknown task seg; choose one of fusion, semiseg"),
        (lambda: train("fusion", "data", "run", bundle="gone"), MissingPathError, "The bundle gone does not exist"),
        (
            lambda: train("fusion", "data", "run", delta="gone.json"),
            MissingPathError,
            "The config file .*gone.json does",
        ),
        (lambda: fuse("gone.nii", "mr.nii.gz", "out", checkpoint="model.pt"), MissingPathError, "The CT gone.nii does"),
        (lambda: fuse("ct.nii.gz", "gone.nii", "out", checkpoint="model.pt"), MissingPathError, "The MR gone.nii does"),
        (lambda: segment("gone.nii", "out", checkpoint="model.pt"), MissingPathError, "The image gone.nii does not"),
        (lambda: segment("fused.nii.gz", "out", checkpoint="gone.pt"), MissingPathError, "The checkpoint gone.pt does"),
        (
            lambda: segment("fused.nii.gz", "out", checkpoint="model.pt", dicom="gone"),
            MissingPathError,
            "The DICOM series gone does not",
        ),
        (lambda: segment("fused.nii.gz", checkpoint="model.pt"), ConfigError, "needs --out"),
        (lambda: segment(out="out", checkpoint="model.pt"), ConfigError, "needs --image, or a pair"),
        (lambda: segment(out="out", checkpoint="model.pt", ct="ct.nii.gz"), ConfigError, "needs --mr too"),
        (
            lambda: segment("fused.nii.gz", "out", checkpoint="model.pt", ct="ct.nii.gz"),
            ConfigError,
            "takes --image or a pair, got --image and --ct",
        ),
        (lambda: evaluate("fusion", ".", "out", "gone.pt"), MissingPathError, "The checkpoint gone.pt does not exist"),
        (
            lambda: segment("fused.nii.gz", "out", checkpoint="model.pt", image_keys=["ct", "mr"]),
            ConfigError,
            r"takes one image, but image_keys names \['ct', 'mr'\]",
        ),
        (
            lambda: train("fusion", "data", "run", **MISSPELT),
            ConfigError,
            "No config defines networkdef, so the setting networkdef#dim has no place",
        ),
    ],
)
@pytest.mark.usefixtures("files")
def test_bad_input_starts_nothing(
    call: Any, error: type[Exception], message: str, started: list[dict[str, str]]
) -> None:
    with pytest.raises(error, match=message):
        call()
    assert started == []


def test_a_bundle_in_the_working_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_bundle("fusion") == BUNDLES / "spine_fusion"
    (tmp_path / "bundles" / "spine_fusion").mkdir(parents=True)
    assert find_bundle("fusion") == tmp_path / "bundles" / "spine_fusion"
    assert find_bundle("fusion", BUNDLES / "spine_semiseg") == BUNDLES / "spine_semiseg"
    monkeypatch.setattr(bundle_places, "__file__", str(tmp_path / "x" / "y" / "bundle_places.py"))
    with pytest.raises(ConfigError, match=r"The bundle spine_semiseg is not in .* nor .*; give --bundle PATH"):
        find_bundle("semiseg")


@pytest.mark.parametrize("value", [True, False, 3, 0.5, [1, 2], {"bias": True, "act": None}, ["a", None]])
def test_the_command_line_reads_a_value_back_as_it_was(value: Any) -> None:
    command = bundle_command(BUNDLES / "spine_fusion", ["train.json"], {"cache_dir": value})
    read: dict[str, Any] = {}
    fire.Fire(lambda **options: read.update(options), command=command[-2:])
    assert read == {"cache_dir": value}


def test_nothing_is_an_override_too() -> None:
    """MONAI's `run` leaves an override out that is None, and would take the default of the config."""
    command = bundle_command(BUNDLES / "spine_semiseg", ["inference.json"], {"spacing_mm": None})
    read: dict[str, Any] = {}
    fire.Fire(lambda **options: read.update(options), command=command[-2:])
    made = create_workflow(config_file=command[5], workflow_type="inference", bundle_root=command[7], **read)
    assert made.parser.get_parsed_content("spacing_mm") is None


def test_an_override_may_go_into_what_another_one_sets() -> None:
    network = {"_target_": "UNet", "act": {"slope": 2}}
    overrides = {"network_def": network, "network_def#act#slope": 3}
    command = bundle_command(BUNDLES / "spine_fusion", ["inference.json"], overrides)
    assert command[-2:] == ["--network_def#act#slope", "3"]
    with pytest.raises(ConfigError, match="No config defines network_def#act, so"):
        bundle_command(BUNDLES / "spine_fusion", ["inference.json"], dict(reversed(overrides.items())))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"canvass": "[128,128]"}, "No config defines the setting canvass.* Did you mean canvas"),
        ({"canvas": "128"}, "The setting canvas takes a list"),
        ({"delta": "gone.json"}, "The config file .*gone.json does not exist"),
        ({"image_keys": "ct,mr,fused"}, "takes one image"),
    ],
)
@pytest.mark.usefixtures("files")
def test_a_chain_is_checked_before_its_first_run(
    typed: dict[str, Any], message: str, started: list[dict[str, str]]
) -> None:
    with pytest.raises(SpinefuseError, match=message):
        segment(out="out", ct="ct.nii.gz", mr="mr.nii.gz", **typed)
    assert started == []


def test_typed_settings_are_what_the_configs_hold(files: Path, started: list[dict[str, str]]) -> None:
    typed = {"epochs": "2", "canvas": "[64,80]", "datalist": "2024", "noamp": True, "learning_rate": "1e-3"}
    train("semiseg", "2024_05", "1e5", **typed)
    (run,) = started
    assert (run["dataset_dir"], run["output_dir"]) == (str(files / "2024_05"), str(files / "1e5" / "eval"))
    shown = {name: run[name] for name in ("epochs", "canvas", "datalist", "amp", "learning_rate")}
    assert shown == {
        "epochs": "2",
        "canvas": "[64, 80]",
        "datalist": '"2024"',
        "amp": "False",
        "learning_rate": "0.001",
    }


def test_a_setting_of_the_wrong_type_starts_nothing(files: Path, started: list[dict[str, str]]) -> None:
    with pytest.raises(ConfigError, match="The setting epochs takes a whole number, got two"):
        train("semiseg", "data", "run", epochs="two")
    assert started == []
    assert not (files / "run").exists()


def test_an_output_that_cannot_be_or_is_an_input_starts_nothing(files: Path, started: list[dict[str, str]]) -> None:
    (files / "out" / "prediction.nii.gz").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"prediction.nii.gz is a folder, but the output is one file"):
        segment(out="out", ct="ct.nii.gz", mr="mr.nii.gz")
    with pytest.raises(OutputError, match=r"fused.nii.gz would replace the input .*fused.nii.gz"):
        fuse("fused.nii.gz", "mr.nii.gz", ".")
    (files / "run").mkdir()
    (files / "run" / "models").touch()
    with pytest.raises(OutputError, match=r"The output folder .*models is a file; name a folder"):
        train("fusion", "data", "run")
    assert started == []
