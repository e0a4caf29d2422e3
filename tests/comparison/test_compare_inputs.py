from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.comparison.compare import compare
from spinefuse_ext.comparison.segmentation_methods import SEGMENTATION_INPUTS
from spinefuse_ext.data import make_datalist
from spinefuse_ext.report.comparison import read_scores
from spinefuse_ext.validation import ConfigError, DatalistError, GridMismatchError
from spinefuse_ext.verbs.commands import evaluate

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_semiseg"
SHAPE = (4, 32, 48)
SPLIT = {"labelled": ["case_0"], "unlabelled": ["case_1"], "validation": ["case_2"], "test": ["case_3"]}
SMALL: dict[str, Any] = {"epochs": 1, "val_interval": 1, "canvas": [32, 48], "crops_per_case": 2}


def _save(path: Path, voxels: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 1.0, 1.0, 1.0])), path)


def _config_files(run: dict[str, str]) -> list[str]:
    """Names of the configs of a run, all of them files of the bundle."""
    given = run["config_file"]
    paths = [Path(path) for path in (json.loads(given.replace("'", '"')) if given.startswith("[") else [given])]
    assert all(path.parent == BUNDLE / "configs" for path in paths)
    return [path.name for path in paths]


@pytest.fixture
def cases(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Four registered and fused cases with three structures one behind the other."""
    root = tmp_path / "cases"
    for number in range(4):
        folder = root / f"case_{number}"
        folder.mkdir(parents=True)
        label = np.zeros(SHAPE, dtype=np.uint8)
        for structure in (1, 2, 3):
            label[:, 8 * structure : 8 * structure + 6, 10 + number : 30] = structure
        ct = np.choose(label, [0.0, 400.0, 90.0, 20.0]) + rng.normal(0, 10, SHAPE)
        mr = np.choose(label, [50.0, 90.0, 300.0, 500.0]) + rng.normal(0, 10, SHAPE)
        images = {"ct": ct, "mr": mr, "fused": np.clip(ct / 900 + mr / 900, 0, 1)}
        for name, voxels in images.items():
            _save(folder / f"{name}.nii.gz", voxels.astype(np.float32))
        _save(folder / "label.nii.gz", label)
    (tmp_path / "split.json").write_text(json.dumps(SPLIT), encoding="utf-8")
    make_datalist(root, split=tmp_path / "split.json")
    return root


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Every bundle run that is started; a faked segmentation labels what the CT needs one class too high."""
    runs: list[dict[str, str]] = []

    def fake(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        run = {name.removeprefix("--"): value for name, value in zip(command[4::2], command[5::2], strict=True)}
        runs.append(run)
        if "ckpt_dir" not in run:
            label = nib.Nifti1Image.from_filename(Path(run["dataset_dir"]) / "case_3" / "label.nii.gz")
            found = np.asarray(label.dataobj).copy()
            if run.get("image_keys") == '["ct"]':
                found[found == 2] = 3
            out = Path(run["output_dir"]) / "case_3"
            out.mkdir(parents=True)
            nib.save(nib.Nifti1Image(found, label.affine), out / "prediction.nii.gz")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", fake)
    return runs


def test_every_input_is_trained_and_labels_the_test_cases_with_the_same_settings(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    compare("inputs", str(cases), str(out), seed=5, **SMALL)
    given = [json.loads(run["image_keys"]) for run in started[:8:2]]
    assert given == [["fused"], ["ct"], ["mr"], ["ct", "mr"]]
    files = [_config_files(run) for run in started]
    assert files[::2] == [["train.json", *each.deltas, *each.training_deltas] for each in SEGMENTATION_INPUTS.values()]
    assert files[1::2] == [["inference.json", *each.deltas] for each in SEGMENTATION_INPUTS.values()]
    for train, infer in zip(started[::2], started[1::2], strict=True):
        assert train.get("image_keys") == infer.get("image_keys")
        assert infer["checkpoint"] == str(Path(train["ckpt_dir"]) / "model.pt")
        assert infer["sections"] == '["test"]'
        same = {"seed": "5", "canvas": "[32, 48]", "dataset_dir": str(cases)}
        assert {name: train[name] for name in same} == {name: infer[name] for name in same} == same
        assert (train["epochs"], "epochs" in infer) == ("1", False)
    assert {run["ckpt_dir"] for run in started[::2]} == {str(out / name / "models") for name in SEGMENTATION_INPUTS}


def test_structures_are_scored_over_the_whole_volume(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    compare("inputs", str(cases), str(out), methods="fused,ct", **SMALL)
    (fused,), (ct,) = (read_scores(out / name / "scores.csv") for name in ("fused", "ct"))
    assert fused.case == "case_3"
    dice = {name: value for name, value in fused.values.items() if name.startswith("dice")}
    assert math.isnan(dice.pop("dice sacrum"))  # no label holds one, and the mean is over the others
    assert set(dice.values()) == {1.0}
    # the three structures are of one size: the canal is found twice as large, the disc not at all
    assert ct.values["dice vertebra"] == 1
    assert ct.values["dice disc"] == 0
    assert ct.values["dice canal"] == pytest.approx(2 / 3)
    assert ct.values["jaccard canal"] == pytest.approx(1 / 2)
    assert ct.values["dice mean"] == pytest.approx(5 / 9)
    assert (fused.values["hd95_mm mean"], fused.values["asd_mm disc"], fused.values["surface_dice canal"]) == (0, 0, 1)
    diagonal = math.hypot(4 * 2, 32, 48)  # of the volume, in mm, for a structure that is missed
    assert ct.values["hd95_mm disc"] == ct.values["asd_mm disc"] == pytest.approx(diagonal)
    assert ct.values["hd95_mm canal"] == 8  # the disc, in its place, starts one period of 8 mm before the canal
    rows = list(csv.DictReader((out / "differences.csv").open(encoding="utf-8")))
    assert [row["fused less"] for row in rows] == ["ct"]
    assert float(rows[0]["canal mean"]) == pytest.approx(1 / 3)
    html = (out / "comparison.html").read_text(encoding="utf-8")
    assert len(re.findall('<img src="data:image/png', html)) == 1
    assert html.count("python -m monai.bundle run") == 4


def test_what_is_done_is_not_done_again_and_other_inputs_are_added(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    compare("inputs", str(cases), out, methods=["fused"], **SMALL)
    compare("inputs", str(cases), out, methods=["fused", "mr"], **SMALL)
    assert [run["image_keys"] for run in started] == ['["fused"]'] * 2 + ['["mr"]'] * 2
    _save(cases / "case_0" / "label.nii.gz", np.ones(SHAPE, dtype=np.uint8))
    with pytest.raises(ConfigError, match=r"mr holds results of other settings: labelled: .*case_0/label.nii.gz was"):
        compare("inputs", str(cases), out, methods=["mr"], **SMALL)


def test_an_input_that_a_case_lacks_is_told_before_anything_starts(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    (cases / "case_1" / "fused.nii.gz").unlink()
    make_datalist(cases, split=tmp_path / "split.json")
    with pytest.raises(DatalistError, match=r"fused needs .*case_1 has no 'fused' .* Fuse the cases, then"):
        compare("inputs", str(cases), str(tmp_path / "out"), **SMALL)
    assert started == []
    assert not (tmp_path / "out").exists()
    compare("inputs", str(cases), str(tmp_path / "out"), methods=["ct", "mr"], **SMALL)
    assert len(started) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": "fused,pet"}, ConfigError, "Unknown method pet; choose from fused, ct, mr, ct_mr"),
        ({"image_keys": ["ct"]}, ConfigError, "sets image_keys for each method itself; leave --image_keys out"),
        ({"epoch": 3}, ConfigError, r"None of the methods .* has the setting epoch\. Did you mean epochs\?"),
        ({"sections": ["labelled", "tests"]}, DatalistError, "fused needs cases with fused, label.* no section tests"),
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
        compare("inputs", str(cases), str(tmp_path / "out"), **{**SMALL, **options})
    assert started == []
    assert not (tmp_path / "out").exists()


def test_without_test_cases_the_validation_is_scored(
    cases: Path, started: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "split.json").write_text(json.dumps({**SPLIT, "validation": ["case_3"], "test": []}), encoding="utf-8")
    make_datalist(cases, split=tmp_path / "split.json")
    compare("inputs", str(cases), str(tmp_path / "out"), methods=["mr"], **SMALL)
    assert started[1]["sections"] == '["validation"]'


def test_a_label_that_does_not_lie_on_the_prediction_is_refused(
    cases: Path, started: list[dict[str, str]], tmp_path: Path
) -> None:
    compare("inputs", str(cases), str(tmp_path / "out"), methods=["mr"], **SMALL)
    record = tmp_path / "out" / "mr" / "record.json"
    noted = json.loads(record.read_text(encoding="utf-8"))
    del noted["steps_s"]["score"]
    record.write_text(json.dumps(noted), encoding="utf-8")
    prediction = tmp_path / "out" / "mr" / "segmented" / "case_3" / "prediction.nii.gz"
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 1000
    nib.save(nib.Nifti1Image(np.zeros((4, 32, 40), dtype=np.uint8), elsewhere), prediction)
    with pytest.raises(GridMismatchError, match=r"case_3/label.nii.gz .*image"):
        compare("inputs", str(cases), str(tmp_path / "out"), methods=["mr"], **SMALL)


@pytest.mark.slow
def test_two_inputs_are_trained_and_scored_as_evaluate_json_scores_them(cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    network = {"network_def#unet#channels": [4, 8, 8, 8, 8], "network_def#vnet#channels": [4, 8, 8, 8, 8]}
    small = {**SMALL, **network, "epochs": 8, "crops_per_case": 8, "learning_rate": 0.05}
    compare("inputs", str(cases), str(out), methods=["ct", "ct_mr"], **small, keep_spine=False)  # boxes are no spine
    tables = {name: read_scores(out / name / "scores.csv") for name in ("ct", "ct_mr")}
    assert tables["ct"] != tables["ct_mr"]
    trained = str(out / "ct_mr" / "models" / "model.pt")
    settings = {**network, "image_keys": ["ct", "mr"], "canvas": SMALL["canvas"], "sections": ["test"]}
    evaluate("semiseg", str(cases), str(tmp_path / "scores"), trained, **settings)
    (row,) = csv.DictReader((tmp_path / "scores" / "val_mean_dice_raw.csv").open(encoding="utf-8"))
    (scored,) = tables["ct_mr"]
    for place, structure in enumerate(("vertebra", "disc", "canal")):
        assert scored.values[f"dice {structure}"] == pytest.approx(float(row[f"class{place}"]), abs=1e-4)
