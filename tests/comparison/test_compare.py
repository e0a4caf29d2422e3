from __future__ import annotations

import csv
import json
import math
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from spinefuse_ext.comparison.compare import compare
from spinefuse_ext.comparison.fusion_methods import FUSION_METHODS
from spinefuse_ext.comparison.method_record import open_record
from spinefuse_ext.comparison.methods import MethodPlan, choose_methods, flat, plan_methods
from spinefuse_ext.comparison.slice_scores import ScoredPairs, score_slices
from spinefuse_ext.metrics import FUSION_SCORES, READER_SCORES, FusionMetric
from spinefuse_ext.report.comparison import read_scores
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.validation import ConfigError, DatalistError, GridMismatchError, MissingPathError
from spinefuse_ext.verbs.commands import find_bundle

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_fusion"
SHAPE = (4, 48, 56)
SMALL: dict[str, Any] = {
    "epochs": 2,
    "stage1_epochs": 1,
    "canvas": [48, 64],
    "patch_size": [32, 32],
    "crops_per_case": 2,
    "batch_size": 2,
    "network_def#dim": 8,
    "network_def#num_blocks": [1, 1],
    "network_def#num_heads": 2,
}


def _write_case(folder: Path, rng: np.random.Generator) -> None:
    """Nested ellipsoids in the inner slices; the first slice of the CT is empty."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    radius = np.linalg.norm((np.stack(axes, -1) - rng.uniform(-0.2, 0.2, 3)) / [0.9, 0.6, 0.7], axis=-1)
    rings = [radius < 0.3, radius < 0.7, radius < 1.3]
    ct = np.select(rings, [90, 500, 20], -900) + rng.normal(0, 20, SHAPE)
    ct[0] = -1000
    mr = np.select(rings, [500, 150, 80], 0) + rng.normal(0, 10, SHAPE)
    folder.mkdir(parents=True)
    for name, voxels in (("ct", ct), ("mr", mr)):
        turned = nib.Nifti1Image(voxels.astype(np.float32), np.diag([2.0, 1.0, 1.0, 1.0]))
        codes = nib.orientations.axcodes2ornt(("P", "I", "L"))
        nib.save(turned.as_reoriented(codes), folder / f"{name}.nii.gz")


@pytest.fixture
def cases(tmp_path: Path, rng: np.random.Generator) -> Path:
    """One case each to train on, to validate and to test, with axes posterior, inferior, left as they are stored."""
    root = tmp_path / "cases"
    listed: dict[str, list[dict[str, str]]] = {"labelled": []}
    for section in ("unlabelled", "validation", "test"):
        name = f"{section}_case"
        _write_case(root / name, rng)
        listed[section] = [{"patient": name, "ct": f"{name}/ct.nii.gz", "mr": f"{name}/mr.nii.gz"}]
    (root / "datalist.json").write_text(json.dumps(listed), encoding="utf-8")
    return root


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Every bundle run that is started, as its options; a faked fusion leaves the CT in a window as its image."""
    runs: list[dict[str, str]] = []

    def fake(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        run = {name.removeprefix("--"): value for name, value in zip(command[4::2], command[5::2], strict=True)}
        runs.append(run)
        if "ckpt_dir" in run:
            Path(run["ckpt_dir"]).mkdir(parents=True)
            torch.save({}, Path(run["ckpt_dir"]) / "model.pt")
        else:
            for section in json.loads(run["sections"]):
                ct = nib.Nifti1Image.from_filename(Path(run["dataset_dir"]) / f"{section}_case" / "ct.nii.gz")
                out = Path(run["output_dir"]) / f"{section}_case"
                out.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(np.clip(ct.get_fdata() / 600, 0, 1), ct.affine), out / "fused.nii.gz")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", fake)
    return runs


def plans(*names: str, **overrides: Any) -> list[MethodPlan]:
    return plan_methods({name: FUSION_METHODS[name] for name in names}, BUNDLE, overrides)


def stages(runs: list[dict[str, str]]) -> list[str]:
    """The method of each run, ``/train`` where it is trained, ``/known`` where it fuses the training cases."""
    named = {"models": "/train", "fused_training": "/known", "fused": ""}
    places = [Path(run.get("ckpt_dir", run["output_dir"])) for run in runs]
    return [place.parent.name + named[place.name] for place in places]


def test_methods_with_weights_are_trained_and_all_fuse_with_the_same_settings(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    compare("fusion", str(cases), str(tmp_path / "out"), methods="ours,max", seed=7, **SMALL)
    assert stages(started) == ["ours/train", "ours", "ours/known", "max", "max/known"]
    train, ours, known, other, _ = started
    assert (known["sections"], known["checkpoint"]) == ('["unlabelled"]', ours["checkpoint"])
    assert train["config_file"] == str(BUNDLE / "configs" / "train.json")
    assert other["config_file"] == str([str(BUNDLE / "configs" / name) for name in ("inference.json", "max.json")])
    assert ours["checkpoint"] == str(Path(train["ckpt_dir"]) / "model.pt")
    assert "checkpoint" not in other
    assert {run["seed"] for run in started} == {"7"}
    assert {run["canvas"] for run in started} == {"[48, 64]"}
    assert (train["epochs"], train["network_def#dim"]) == ("2", "8")
    assert [("epochs" in run, "network_def#dim" in run) for run in (ours, other)] == [(False, True), (False, False)]
    assert {run["sections"] for run in (ours, other)} == {'["test"]'}
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").open(encoding="utf-8")))
    assert [row["Method"] for row in rows] == ["ours", "max"]
    assert all(math.isfinite(float(row["rec mean"])) for row in rows)
    html = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert shlex.quote(str(BUNDLE / "configs" / "train.json")) in html
    assert "3 slices of 1 case" in html  # the empty one has nothing to fuse


def test_what_is_done_is_not_done_again(
    cases: Path, started: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    compare("fusion", str(cases), str(out), methods=["ours"], **SMALL)
    first = (out / "ours" / "scores.csv").stat().st_mtime_ns
    compare("fusion", str(cases), str(out), methods=["ours", "mean"], **SMALL)
    assert stages(started) == ["ours/train", "ours", "ours/known", "mean", "mean/known"]
    assert (out / "ours" / "scores.csv").stat().st_mtime_ns == first
    assert "1 of 2, ours: train: done before" in capsys.readouterr().out
    assert len(list(csv.reader((out / "table.csv").open(encoding="utf-8")))) == 3
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert page.count("python -m monai.bundle run") == 5  # earlier commands too


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(
    cases: Path, started: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fail = subprocess.run, [True]

    def cut(command: list[str], check: bool) -> subprocess.CompletedProcess[Any]:
        if fail and "--ckpt_dir" not in command:
            return subprocess.CompletedProcess(command, 3)
        return run(command, check=check)

    monkeypatch.setattr(subprocess, "run", cut)
    with pytest.raises(SystemExit, match="3"):
        compare("fusion", str(cases), str(tmp_path / "out"), methods=["ours"], **SMALL)
    assert stages(started) == ["ours/train"]
    fail.clear()
    compare("fusion", str(cases), str(tmp_path / "out"), methods=["ours"], **SMALL)
    assert stages(started) == ["ours/train", "ours", "ours/known"]


def test_results_of_other_settings_are_refused_before_anything_starts_or_made_again(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    compare("fusion", str(cases), out, methods=["mean", "ours"], **SMALL)
    started.clear()
    with pytest.raises(ConfigError, match=r"ours holds results of other settings: train#epochs was 2, is 3\. .*--redo"):
        compare("fusion", str(cases), out, methods=["ours"], **{**SMALL, "epochs": 3})
    assert started == []
    compare("fusion", str(cases), out, methods=["mean", "ours"], redo=True, **{**SMALL, "epochs": 3})
    assert stages(started) == ["ours/train", "ours", "ours/known"]  # epochs are nothing to a rule without weights


def test_images_that_changed_are_other_settings(cases: Path, started: list[dict[str, str]], tmp_path: Path) -> None:
    compare("fusion", str(cases), str(tmp_path / "out"), methods=["mean"])
    changed = nib.Nifti1Image(np.ones(SHAPE, dtype=np.float32), np.eye(4))
    nib.save(changed, cases / "validation_case" / "mr.nii.gz")
    compare("fusion", str(cases), str(tmp_path / "out"), methods=["mean"])  # a rule never saw the validation cases
    assert len(started) == 2
    nib.save(changed, cases / "test_case" / "mr.nii.gz")
    with pytest.raises(ConfigError, match=r"holds results of other settings: test: .*test_case/mr.nii.gz was"):
        compare("fusion", str(cases), str(tmp_path / "out"), methods=["mean"])


def test_without_test_cases_the_validation_is_scored(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    listed = json.loads((cases / "datalist.json").read_text(encoding="utf-8"))
    (cases / "datalist.json").write_text(json.dumps({**listed, "test": []}), encoding="utf-8")
    compare("fusion", str(cases), str(tmp_path / "out"), methods=["mean"])
    assert json.loads(started[0]["sections"]) == ["validation"]
    assert {one.case for one in read_scores(tmp_path / "out" / "mean" / "scores.csv")} == {"validation_case"}


def test_without_training_cases_the_page_says_that_nothing_can_be_recovered(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    listed = json.loads((cases / "datalist.json").read_text(encoding="utf-8"))
    (cases / "datalist.json").write_text(json.dumps({**listed, "unlabelled": []}), encoding="utf-8")
    compare("fusion", str(cases), str(tmp_path / "out"), methods=["mean"])
    assert stages(started) == ["mean"]
    assert "rec mean" not in (tmp_path / "out" / "table.csv").read_text(encoding="utf-8")
    assert "rec is missing" in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")


KNOWN = ", ".join(FUSION_METHODS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "pets"}, ConfigError, "`spinefuse compare` knows fusion, inputs, semiseg, got pets"),
        ({"methods": ["ours", "pca"]}, ConfigError, f"Unknown method pca; choose from {KNOWN}"),
        ({"methods": "max,max"}, ConfigError, "needs each method once, got max, max; choose"),
        ({"methods": []}, ConfigError, "needs each method once, got none"),
        ({"epoch": 3}, ConfigError, r"None of the methods ours, max has the setting epoch\. Did you mean epochs\?"),
        ({"network_def#dmi": 3}, ConfigError, "None of the methods ours, max has the setting network_def#dmi"),
        ({"ckpt_dir": "x"}, ConfigError, "sets ckpt_dir for each method itself; leave --ckpt_dir out"),
        ({"network_def": {}}, ConfigError, "sets network_def for each method itself"),
        ({"network_def#threshold": 0.1}, ConfigError, "sets network_def#threshold for each method itself"),
        ({"dataset_dir": "gone"}, MissingPathError, r"The dataset folder \(dataset_dir\) .*gone does not exist"),
        ({"sections": ["tests"]}, DatalistError, "has no section tests"),
        ({"bundle": "gone"}, MissingPathError, "The bundle gone does not exist"),
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
    given = {
        "task": "fusion",
        "dataset_dir": str(cases),
        "out": str(tmp_path / "out"),
        "methods": "ours,max",
        **options,
    }
    with pytest.raises(error, match=message):
        compare(**given)
    assert started == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_no_comparison_wrote_is_left_alone(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "out" / "max").mkdir(parents=True)
    (tmp_path / "out" / "max" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"max is not empty and no comparison wrote it"):
        compare("fusion", str(cases), str(tmp_path / "out"), methods=["max"], redo=True)
    assert (tmp_path / "out" / "max" / "thesis.txt").is_file()
    assert started == []


@pytest.mark.parametrize("name", FUSION_METHODS)
def test_every_method_has_its_configs_and_a_network_of_its_own_kind(name: str) -> None:
    (plan,) = plan_methods({name: FUSION_METHODS[name]}, find_bundle("fusion"), {"seed": 3})
    config = bundle_config(BUNDLE, plan.inference_files, plan.inference)
    assert config["seed"] == 3
    assert (plan.training is not None) == FUSION_METHODS[name].trains
    if plan.training is not None:
        assert bundle_config(BUNDLE, plan.training_files)["network_def"] == config["network_def"]


def test_what_a_method_sets_itself_is_not_overridden() -> None:
    ours, other = plans("ours", "u2fusion", stage1_epochs=5, epochs=9, vgg16_weights="v.pt")
    assert ours.training == {"stage1_epochs": 5, "epochs": 9}
    assert other.training == {"epochs": 9, "vgg16_weights": "v.pt"}  # it has no first stage to make longer


def test_every_default_method_may_be_named_as_people_type_it() -> None:
    for asked in (KNOWN, tuple(FUSION_METHODS)):
        assert choose_methods(asked, FUSION_METHODS) == list(FUSION_METHODS)


def test_without_names_all_competitors_are_taken_and_no_reference() -> None:
    assert set(FUSION_METHODS) - set(choose_methods(None, FUSION_METHODS)) == {"ct", "mr"}


def test_settings_become_one_level_with_every_leaf() -> None:
    nested = {"a": {"b": 1, "c": [2, 3]}, "d": [{"e": 4}, 5], "f": {}}
    assert flat(nested) == {"a#b": 1, "a#c": [2, 3], "d#0#e": 4, "d#1": 5}


def _fail() -> None:
    raise ZeroDivisionError


def test_a_step_that_fails_is_not_noted(tmp_path: Path) -> None:
    record = open_record(tmp_path / "m", {"size": (1, 2)})
    record.step("one", "first", lambda: None)
    with pytest.raises(ZeroDivisionError):
        record.step("two", "second", _fail)
    again = open_record(tmp_path / "m", {"size": (1, 2)})
    assert set(again.steps_s) == {"one"}


def test_slices_are_scored_one_by_one_and_average_to_the_case(rng: np.random.Generator) -> None:
    pair = torch.from_numpy(rng.random((2, 44, 5, 48)))
    pair[0, :, 1] = 0.25  # nothing of the CT in this slice
    fused = pair.mean(0, keepdim=True)
    scored = score_slices("case", fused, pair, slice_axis=1)
    assert [one.index for one in scored] == [0, 2, 3, 4]
    for name in (*FUSION_SCORES, *READER_SCORES):
        whole = torch.as_tensor(FusionMetric(name, slice_axis=1)(fused[None], pair[None])).item()
        assert np.mean([one.values[name] for one in scored]) == pytest.approx(whole, rel=1e-6)
    assert score_slices("case", fused[:, :, 1:2], pair[:, :, 1:2], slice_axis=1) == []


def test_a_fused_image_on_another_grid_is_refused(cases: Path, tmp_path: Path) -> None:
    (plan,) = plans("max", dataset_dir=str(cases), sections=["test"])
    (pair,) = ScoredPairs(bundle_config(BUNDLE, plan.inference_files, plan.inference))
    assert pair.case == "test_case"
    (tmp_path / "test_case").mkdir()
    nib.save(nib.Nifti1Image(np.zeros((4, 48, 50)), np.eye(4)), tmp_path / "test_case" / "fused.nii.gz")
    with pytest.raises(GridMismatchError, match=r"fused.nii.gz should lie on the grid of its CT \(4, 48, 56\)"):
        pair.fused(tmp_path)


@pytest.mark.slow
def test_two_methods_are_trained_fused_and_scored_as_evaluate_json_scores_them(cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = {**SMALL, "network_def#output": "sigmoid"}  # a correction of the maximum is still 0 after so few steps
    compare("fusion", str(cases), str(out), methods=["ours", "max"], **small)
    scores = {name: read_scores(out / name / "scores.csv") for name in ("ours", "max")}
    values = [item for one in scores["ours"] for item in one.values.items()]
    absent = ("bone_brightness", "bone_order", "false_edges")  # not every slice has bone, or an edge
    assert [name for name, value in values if not math.isfinite(value) and name not in absent] == []
    assert [(one.case, one.index) for one in scores["ours"]] == [(one.case, one.index) for one in scores["max"]]
    assert scores["ours"] != scores["max"]
    html = (out / "comparison.html").read_text(encoding="utf-8")
    assert len(re.findall('<img src="data:image/png', html)) == 2
    network = {name: value for name, value in small.items() if name == "canvas" or "#" in name}
    trained = {"checkpoint": str(out / "ours" / "models" / "model.pt"), **network}
    for method, deltas, settings in (("ours", [], trained), ("max", ["max.json"], {"canvas": SMALL["canvas"]})):
        means = _evaluated(deltas, dataset_dir=str(cases), output_dir=str(tmp_path / method), **settings)
        for name, mean in means.items():
            ours = np.mean([one.values[name] for one in scores[method] if math.isfinite(one.values[name])])
            assert ours == pytest.approx(mean, abs=1e-4), (method, name)  # the file has four decimals
        assert set(means) >= set(FUSION_SCORES) - {"sum_of_correlations_of_differences"}


def _evaluated(deltas: list[str], **settings: Any) -> dict[str, float]:
    """The scores of the test case that ``evaluate.json`` writes, without those that are not defined."""
    workflow = ConfigWorkflow(
        [str(BUNDLE / "configs" / name) for name in ("train.json", "evaluate.json", *deltas)],
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        **{"sections": ["test"], **settings},
    )
    workflow.initialize()
    workflow.run()
    means = {}
    for name in FUSION_SCORES:
        (row,) = csv.DictReader((Path(settings["output_dir"]) / f"val_{name}_raw.csv").open(encoding="utf-8"))
        means[name] = float(row["mean"])
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}
