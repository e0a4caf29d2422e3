from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser

from spinefuse_ext.comparison.compare import compare
from spinefuse_ext.comparison.methods import plan_methods
from spinefuse_ext.comparison.segmentation_methods import ALL_LABELS, SEMISEG_METHODS, SUPERVISED
from spinefuse_ext.data import make_datalist
from spinefuse_ext.report.comparison import read_scores
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.validation import ConfigError, DatalistError

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_semiseg"
SHAPE = (4, 32, 48)
SPLIT = {"labelled": ["case_0"], "unlabelled": ["case_1"], "validation": ["case_2"], "test": ["case_3", "case_4"]}
CHANNELS = [4, 8, 8, 8, 8]
NETWORKS = {f"network_def#{name}#channels": CHANNELS for name in ("unet", "vnet")}
SMALL: dict[str, Any] = {"epochs": 1, "val_interval": 1, "canvas": [32, 48], "crops_per_case": 2}
PAIR = "ours,supervised_unet"


@pytest.fixture
def cases(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Five cases with three structures one behind the other; the unlabelled one keeps its label in the list."""
    root = tmp_path / "cases"
    for number in range(5):
        folder = root / f"case_{number}"
        folder.mkdir(parents=True)
        label = np.zeros(SHAPE, dtype=np.uint8)
        for structure in (1, 2, 3):
            label[:, 8 * structure : 8 * structure + 6, 10 + number : 30] = structure
        fused = np.choose(label, [0.1, 0.9, 0.5, 0.3]) + rng.normal(0, 0.02, SHAPE)
        for name, voxels in (("fused", fused.astype(np.float32)), ("label", label)):
            nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
    (tmp_path / "split.json").write_text(json.dumps(SPLIT), encoding="utf-8")
    make_datalist(root, split=tmp_path / "split.json", keep_labels=True)
    return root


def _options(command: list[str]) -> dict[str, str]:
    return {name.removeprefix("--"): value for name, value in zip(command[4::2], command[5::2], strict=True)}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Every bundle run that is started; the best checkpoint of a faked method finds nothing, the last all but canal.

    A supervised one finds the canal too, with every seed but 0.
    """
    runs: list[dict[str, str]] = []

    def fake(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        run = _options(command)
        runs.append(run)
        if "ckpt_dir" not in run:
            for case in ("case_3", "case_4"):
                label = nib.Nifti1Image.from_filename(Path(run["dataset_dir"]) / case / "label.nii.gz")
                found = np.asarray(label.dataobj).copy()
                last = run["checkpoint"].endswith("model_final.pt")
                with_canal = "supervised" in run["config_file"] and run["seed"] != "0"
                found[(found == 3) & (not with_canal)] = 0
                found *= int(last)
                out = Path(run["output_dir"]) / case
                out.mkdir(parents=True)
                nib.save(nib.Nifti1Image(found, label.affine), out / "prediction.nii.gz")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", fake)
    return runs


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_method_runs_with_every_seed_and_both_checkpoints_are_scored(
    cases: Path, started: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    compare("semiseg", str(cases), str(out), methods=PAIR, seeds=(0, 3), **SMALL)
    trained = [run for run in started if "ckpt_dir" in run]
    folders = [Path(run["ckpt_dir"]).parent.relative_to(out).as_posix() for run in trained]
    # seed by seed, so that a comparison that is cut off has all methods
    assert folders == ["ours/seed_0", "supervised_unet/seed_0", "ours/seed_3", "supervised_unet/seed_3"]
    assert [run["seed"] for run in trained] == ["0", "0", "3", "3"]
    for train, last, best in zip(started[::3], started[1::3], started[2::3], strict=True):
        models = Path(train["ckpt_dir"])
        assert (last["checkpoint"], best["checkpoint"]) == (str(models / "model_final.pt"), str(models / "model.pt"))
        assert last["output_dir"] != best["output_dir"]
        assert {run["seed"] for run in (train, last, best)} == {train["seed"]}
    (first, _) = read_scores(out / "ours" / "seed_0" / "scores.csv")
    assert (first.values["dice disc"], first.values["dice canal"]) == (1.0, 0.0)
    assert read_scores(out / "ours" / "seed_0" / "best" / "scores.csv")[0].values["dice mean"] == 0.0
    ours, control, f_row, _ = _rows(out / "table.csv")
    # the mean over seeds first: the control finds two of three structures with one seed, three with the other
    assert float(ours["Dice mean"]) == pytest.approx(2 / 3)
    assert float(control["Dice mean"]) == pytest.approx((2 / 3 + 1) / 2)
    assert float(control["SD over seeds"]) == pytest.approx((1 / 3) / 2**0.5)
    assert (control["Dice n"], control["Seeds"], f_row["Method"]) == ("2", "2", "F")
    assert [float(row["Dice mean"]) for row in _rows(out / "table_best.csv")] == [0.0, 0.0]
    printed = capsys.readouterr().out
    assert "WARNING: ours is worse than its supervised control: mean Dice 0.667, supervised_unet has 0.833" in printed
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "worse than its supervised control" in page
    assert page.count("python -m monai.bundle run") == 12
    assert "CompetitivePseudoLabelHandler" in page


def test_a_label_with_other_axes_is_scored_on_the_grid_of_the_prediction(
    cases: Path, started: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = nib.orientations.axcodes2ornt(("L", "P", "S"))
    faked = subprocess.run

    def turn(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        done = faked(command, check=check)
        for path in Path(_options(command)["output_dir"]).rglob("prediction.nii.gz"):
            image = nib.Nifti1Image.from_filename(path)
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine).as_reoriented(turned), path)
        return done

    compare("semiseg", str(cases), str(tmp_path / "as_is"), methods=PAIR, seeds=0, **SMALL)
    monkeypatch.setattr(subprocess, "run", turn)
    compare("semiseg", str(cases), str(tmp_path / "turned"), methods=PAIR, seeds=0, **SMALL)
    as_is, other = (_rows(tmp_path / name / "all_scores.csv") for name in ("as_is", "turned"))
    assert as_is == other
    assert any(float(row["value"]) == 1 for row in as_is if row["score"] == "dice disc")


def test_a_training_that_was_cut_off_goes_on_from_its_state(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    options = {"methods": "ours", "seeds": 0, **SMALL}
    compare("semiseg", str(cases), str(tmp_path), **options)
    record = tmp_path / "ours" / "seed_0" / "record.json"
    content = json.loads(record.read_text())
    steps = {name: seconds for name, seconds in content["steps_s"].items() if name != "train"}
    state, stale = (tmp_path / "ours" / "seed_0" / "models" / name for name in ("training_epoch_0001.pt", "stale.pt"))
    for file in (stale, state):
        record.write_text(json.dumps({**content, "steps_s": steps}))
        file.parent.mkdir()
        file.touch()
        compare("semiseg", str(cases), str(tmp_path), **options)
    assert not stale.exists()  # nothing to go on from: begun anew
    assert state.exists()
    assert {run["resume"] for run in started if "ckpt_dir" in run} == {"latest"}


def test_finished_runs_are_not_repeated_and_what_is_done_can_be_collected(
    cases: Path, started: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(ConfigError, match="Nothing of this comparison is finished"):
        compare("semiseg", str(cases), out, methods=PAIR, collect=True, **SMALL)
    assert not (tmp_path / "out").exists()
    compare("semiseg", str(cases), out, methods="supervised_unet", seeds=0, **SMALL)
    compare("semiseg", str(cases), out, methods="ours", seeds="1,0", **SMALL)
    assert len(started) == 9
    compare("semiseg", str(cases), out, methods=PAIR, seeds=[0], **SMALL)
    assert len(started) == 9
    capsys.readouterr()
    record = tmp_path / "out" / "ours" / "seed_0" / "record.json"
    noted = json.loads(record.read_text(encoding="utf-8"))
    del noted["steps_s"]["score_best"]
    record.write_text(json.dumps(noted), encoding="utf-8")
    before = record.read_bytes()
    compare("semiseg", str(cases), out, methods=PAIR, seeds=[0, 1], collect=True, **SMALL)
    assert len(started) == 9
    assert record.read_bytes() == before
    printed = capsys.readouterr().out
    assert "missing: ours, seed 0: left to do: score_best." in printed
    assert "missing: supervised_unet, seed 1: not begun." in printed
    # the first method stays first, whichever of its seeds is there
    assert [(row["Method"], row["Seeds"]) for row in _rows(tmp_path / "out" / "table.csv")[:2]] == [
        ("ours", "1"),
        ("supervised_unet", "1"),
    ]
    assert "ours, seed 0: left to do: score_best." in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"seed_0 holds results of other settings: train#epochs was 1, is 2"):
        compare("semiseg", str(cases), out, methods=PAIR, seeds=[0], collect=True, **{**SMALL, "epochs": 2})


def test_all_labels_take_the_labels_of_the_unlabelled_cases(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    compare("semiseg", str(cases), str(out), methods=f"{PAIR},{ALL_LABELS}", seeds=1, **SMALL)
    settings = json.loads((out / ALL_LABELS / "seed_1" / "record.json").read_text(encoding="utf-8"))["settings"]
    assert settings["train#train#dataset#data#sections"] == ["labelled", "unlabelled"]
    assert any(name.startswith("unlabelled:") and name.endswith("label.nii.gz") for name in settings)
    (share,) = _rows(out / "gap.csv")
    assert share["Method"] == "ours"
    assert share["Share"] == "nan"  # all labels are faked to be as good as few
    make_datalist(cases, split=tmp_path / "split.json")
    with pytest.raises(DatalistError, match=r"all_labels_unet needs .*case_1 has no 'label'.* --keep_labels True"):
        compare("semiseg", str(cases), str(tmp_path / "other"), methods=ALL_LABELS, **SMALL)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": "0,0"}, ConfigError, "--seeds needs whole numbers from 0, each once, for example 0,1,2; got 0,0"),
        ({"seeds": [-1]}, ConfigError, "--seeds needs whole numbers from 0"),
        ({"seeds": []}, ConfigError, "--seeds needs whole numbers from 0"),
        ({"seeds": "a"}, ConfigError, "--seeds needs whole numbers from 0"),
        ({"seed": 3}, ConfigError, "give --seeds, not --seed"),
        ({"methods": "ours,mine"}, ConfigError, "Unknown method mine; choose from ours, mcf, supervised_unet"),
        ({"network_def#unte#channels": [1]}, ConfigError, "None of the methods ours, supervised_unet has the setting"),
    ],
)
def test_bad_input_starts_nothing(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    cases: Path,
    started: list[dict[str, str]],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        compare("semiseg", str(cases), str(tmp_path / "out"), **{"methods": PAIR, **SMALL, **options})
    assert started == []
    assert not (tmp_path / "out").exists()


def test_other_tasks_have_no_seeds(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compare inputs` runs every method once; give --seed instead of --seeds"):
        compare("inputs", str(cases), str(tmp_path / "out"), methods="fused", seeds=1)


@pytest.mark.parametrize("name", SEMISEG_METHODS)
def test_every_method_has_one_network_in_training_and_inference(name: str) -> None:
    (plan,) = plan_methods({name: SEMISEG_METHODS[name]}, BUNDLE, {"batch_size": 3, "amp": True})
    training, inference = (
        ConfigParser(bundle_config(BUNDLE, files, {**settings, "device": "cpu", "checkpoint": None}))
        for files, settings in ((plan.training_files, plan.training), (plan.inference_files, plan.inference))
    )
    networks = [parser.get_parsed_content("network_def") for parser in (training, inference)]
    assert str(networks[0]) == str(networks[1])
    assert [training["batch_size"], training["amp"], inference["amp"]] == [3, True, True]


@pytest.mark.parametrize("name", [*SUPERVISED, ALL_LABELS])
def test_a_control_takes_as_many_steps_as_one_pass_over_the_unlabelled_images(name: str, cases: Path) -> None:
    method = SEMISEG_METHODS[name]
    settings = {"dataset_dir": str(cases), "crops_per_case": 7, "unlabelled_batch_size": 3, "device": "cpu"}
    files = ("train.json", *method.deltas, *method.training_deltas)
    parser = ConfigParser(bundle_config(BUNDLE, files, settings))
    assert parser.get_parsed_content("train#trainer#unlabelled_data_loader") is None
    assert parser.get_parsed_content("train#trainer#epoch_length") == 3  # 7 crops of one case, 3 in a batch
    assert parser["method_handlers"] == []
    patients = {item["patient"] for item in parser.get_parsed_content("train#dataset#data")}
    assert patients == ({"case_0", "case_1"} if name == ALL_LABELS else {"case_0"})


def test_a_size_goes_to_every_network_that_has_it_at_that_place() -> None:
    places = ("unet", "network", "network#network")
    sizes = {f"network_def#{place}#channels": CHANNELS for place in places}
    methods = {name: SEMISEG_METHODS[name] for name in ("ours", "supervised_unet", "mean_teacher")}
    plans = plan_methods(methods, BUNDLE, {**sizes, "network_def#network#dropout": 0.1})
    taken = {plan.name: [name.removeprefix("network_def#") for name in plan.inference] for plan in plans}
    assert taken == {
        "ours": ["unet#channels"],
        "supervised_unet": ["network#channels", "network#dropout"],  # an argument that the config does not give
        "mean_teacher": ["network#network#channels"],
    }


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundle runs in this process, with their options read from the command line as always: saves the imports."""

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        fire.Fire({"run": monai.bundle.run}, command=command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.slow
def test_two_methods_and_all_labels_are_trained_with_two_seeds_and_compared(
    cases: Path, in_process: None, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    small = {**SMALL, **NETWORKS, "network_def#network#channels": CHANNELS, "device": "cpu"}
    compare("semiseg", str(cases), str(out), methods=f"{PAIR},{ALL_LABELS}", seeds=(0, 1), **small)
    scores = {
        (name, seed, part): read_scores(out / name / f"seed_{seed}" / part / "scores.csv")
        for name in ("ours", "supervised_unet", ALL_LABELS)
        for seed in (0, 1)
        for part in ("", "best")
    }
    assert {one.case for found in scores.values() for one in found} == {"case_3", "case_4"}
    assert scores["ours", 0, ""] != scores["ours", 1, ""]
    assert scores["supervised_unet", 0, ""] != scores[ALL_LABELS, 0, ""]
    assert repr(scores["ours", 0, ""]) == repr(scores["ours", 0, "best"])  # of one epoch the last is the best
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "Validation Dice of each method over training" in page
    assert page.count('<img src="data:image/png') >= 4  # a picture a case, a box plot a measure
    assert re.search(r"optimiser steps</th>\s*<td>1</td>", page)  # 2 crops in one batch, read from the log, all alike
    assert len(_rows(out / "all_scores.csv")) == 6 * 2 * len(scores["ours", 0, ""][0].values)
