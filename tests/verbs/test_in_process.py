"""A verb runs its bundles in its own process, and says in a few lines what came of it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from spinefuse_ext.__main__ import main
from spinefuse_ext.runs.run import run_bundle
from spinefuse_ext.validation import WeightsError
from spinefuse_ext.verbs.commands import fuse
from spinefuse_ext.verbs.results import structure_volumes, tell_scores, tell_weights

Bundle = Callable[[str, Path], Path]


@pytest.fixture(scope="module")
def folder(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both bundles, small, and a pair ``ct.nii.gz`` and ``mr.nii.gz``."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "bundles").mkdir()
    for name in ("spine_fusion", "spine_semiseg"):
        small_bundle(name, folder / "bundles")
    values = np.random.default_rng(0).normal(size=(3, 40, 36)).cumsum(1).cumsum(2).astype(np.float32)
    for name, scale in (("ct", 20.0), ("mr", 3.0)):
        image = np.abs(values) * scale if name == "mr" else values * scale
        nib.save(nib.Nifti1Image(image, np.diag([2.0, 1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def work(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder with the bundles, whose ``out`` is empty; no process can be started."""
    monkeypatch.chdir(folder)
    shutil.rmtree(folder / "out", ignore_errors=True)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    return folder


PAIR = {"ct": "ct.nii.gz", "mr": "mr.nii.gz"}


def test_a_run_is_a_call_with_the_bytes_of_its_command(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    searched = list(sys.path)
    fuse(**PAIR, out="out")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("$ "))
    called = (work / "out" / "fused.nii.gz").read_bytes()
    assert sys.path == searched
    (work / "out" / "fused.nii.gz").unlink()
    monkeypatch.undo()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, *shlex.split(line)[2:]], check=True, capture_output=True, env=environment)
    assert (work / "out" / "fused.nii.gz").read_bytes() == called


def test_a_pair_is_segmented_in_one_process_and_its_figures_are_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["segment", "--ct", "ct.nii.gz", "--mr", "mr.nii.gz", "--out", "out", "--fused"])
    shown = capsys.readouterr()
    results = [line for line in shown.out.splitlines() if not line.startswith("$ ")]
    assert results[0] == f"Wrote {work / 'out' / 'fused.nii.gz'}: 3 x 40 x 36 voxels of 2 x 1 x 1 mm."
    trust = json.loads((work / "out" / "trust.json").read_text())["structures"]
    prediction = np.asarray(nib.load(work / "out" / "prediction.nii.gz").dataobj)
    for index, name in enumerate(("vertebra", "disc", "canal", "sacrum"), start=1):
        (row,) = [line for line in results if line.split()[0] == name]
        voxels = int((prediction == index).sum())
        assert (f"{2 * voxels / 1000:.1f} ml, trust {trust[name]['trust']:.2f}" if voxels else "not found") in row
    for chatter in ("ignite", "monai", "nvImageCodec", "UserWarning", "eval()", "Engine run"):
        assert chatter not in shown.err + "".join(results)


def test_verbose_shows_what_the_engine_says(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "from spinefuse_ext.__main__ import main; main(['fuse', 'ct.nii.gz', 'mr.nii.gz', 'out', '--verbose'])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    status = os.spawnve(os.P_WAIT, sys.executable, [sys.executable, "-c", code], environment)
    assert status == 0
    shown = capfd.readouterr()
    assert "Engine run" in shown.out + shown.err


def test_a_misspelt_setting_of_a_chain_leaves_nothing_behind(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was told after 48 CPU s of fusing."""
    line = ["segment", "--ct", "ct.nii.gz", "--mr", "mr.nii.gz", "--out", "out", "--canvass", "[64,64]"]
    with pytest.raises(SystemExit, match="2"):
        main(line)
    shown = capsys.readouterr()
    assert "Did you mean canvas?" in shown.err
    assert "$ " not in shown.out
    assert not (work / "out").exists()


def test_an_error_of_a_run_is_the_error_itself(work: Path) -> None:
    torch.save({"other": torch.zeros(2)}, work / "other.pt")
    with pytest.raises(WeightsError):
        fuse(**PAIR, out="out", checkpoint="other.pt")
    assert not (work / "out" / "fused.nii.gz").exists()


def test_fuse_takes_a_delta_as_the_other_verbs_do(work: Path) -> None:
    fused = {}
    for rule in ("max", "mean"):
        fuse(**PAIR, out=f"out/{rule}", delta=f"{rule}.json")
        fused[rule] = np.asarray(nib.load(work / "out" / rule / "fused.nii.gz").dataobj)
    assert (fused["max"] >= fused["mean"] - 1e-6).all()
    assert (fused["max"] > fused["mean"]).any()


def test_one_override_reads_few_configs(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--epochs 2`` cost 2 processes and 20 readings of config files."""
    reads: list[str] = []
    load = ConfigParser.load_config_file.__func__  # type: ignore[attr-defined]

    def note(cls: type[ConfigParser], filepath: Any, **options: Any) -> Any:
        reads.append(Path(filepath).name)
        return load(cls, filepath, **options)

    monkeypatch.setattr(ConfigParser, "load_config_file", classmethod(note))
    nothing = {"initialize": [{"_target_": "spinefuse_ext.runs.check_run", "bundle_root": "@bundle_root"}], "run": []}
    (work / "nothing.json").write_text(json.dumps(nothing))
    run_bundle(work / "bundles" / "spine_fusion", ["train.json", "nothing.json"], {"epochs": 2})
    assert len([name for name in reads if name in ("train.json", "inference.json", "metadata.json")]) <= 4


def test_a_terminated_verb_leaves_nothing_half_written_and_earlier_results(work: Path, folder: Path) -> None:
    (work / "out").mkdir()
    (work / "out" / "fused.nii.gz").write_text("earlier")
    code = (
        "import sys, os, signal\n"
        "os.dup2(os.open('said.txt', os.O_WRONLY | os.O_CREAT), 2)\n"
        "from spinefuse_ext.__main__ import main\n"
        "from monai.data import NibabelWriter\n"
        "write = NibabelWriter.write\n"
        "def half(self, path, **options):\n"
        "    write(self, path, **options)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "NibabelWriter.write = half\n"
        "main(['fuse', 'ct.nii.gz', 'mr.nii.gz', 'out'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    status = os.spawnve(os.P_WAIT, sys.executable, [sys.executable, "-c", code], environment)
    said = (work / "said.txt").read_text()
    assert status == 128 + signal.SIGTERM, said[-2000:]
    assert said.endswith("spinefuse: stopped by SIGTERM.\n")
    assert "Traceback" not in said
    assert [path.name for path in (work / "out").iterdir()] == ["fused.nii.gz"]
    assert (work / "out" / "fused.nii.gz").read_text() == "earlier"


def test_volumes_are_voxels_times_the_size_of_one() -> None:
    labels = np.array([0, 1, 1, 3]).reshape(1, 2, 2)
    affine = np.array([[0, 2.0, 0, 5], [-10.0, 0, 0, 5], [0, 0, 50.0, 5], [0, 0, 0, 1]])  # 2 x 10 x 50 mm = 1 ml
    assert structure_volumes(labels, affine, ["background", "bone", "disc", "canal"]) == {
        **{"bone": pytest.approx(2), "disc": 0, "canal": pytest.approx(1)},
    }


def test_a_training_and_an_evaluation_end_with_what_they_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model_final.pt").touch()
    tell_weights(tmp_path)
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'models' / 'model_final.pt'}: weights of the last epoch.\n"
    (tmp_path / "metrics.csv").write_text("val_mean_dice,0.75\nval_hd95,nan\n")
    tell_scores(tmp_path)
    assert capsys.readouterr().out.splitlines()[0].split() == ["val_mean_dice", "0.75"]
    tell_scores(tmp_path / "models")
    assert capsys.readouterr().out == ""
