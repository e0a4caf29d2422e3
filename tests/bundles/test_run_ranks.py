"""Both bundles in two processes of torchrun on the CPU."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from spinefuse_ext.verbs.commands import bundle_command

pytestmark = pytest.mark.slow

BUNDLES = Path(__file__).parents[2] / "bundles"
NARROW = [4, 8, 16, 32, 64]
SMALL: dict[str, dict[str, Any]] = {
    "spine_fusion": {
        "canvas": [64, 80],
        "network_def#dim": 8,
        "network_def#num_blocks": [1, 1],
        "network_def#num_heads": 2,
    },
    "spine_semiseg": {"canvas": [64, 80], "unet_channels": NARROW, "vnet_channels": NARROW},
}
TRAINING: dict[str, dict[str, Any]] = {
    "spine_fusion": {"patch_size": [32, 32], "batch_size": 2, "crops_per_case": 2, "stage1_epochs": 1},
    "spine_semiseg": {"batch_size": 1, "unlabelled_batch_size": 1, "crops_per_case": 3},
}
EPOCHS = 4
#: gloo's processes meet anew after a restart, in a store of their own.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
each_bundle = pytest.mark.parametrize("bundle", SMALL)


@pytest.fixture(scope="module")
def pair_cohort(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small cases with two of them for validation, so that each process has one."""
    folder = tmp_path_factory.mktemp("pair") / "cases"
    shutil.copytree(cohort, folder)
    sections = json.loads((folder / "datalist.json").read_text())
    sections["validation"] += sections.pop("test")
    (folder / "datalist.json").write_text(json.dumps(sections))
    return folder


def torchrun(*options: str, processes: int = 2) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *options]


def command(bundle: str, configs: list[str], cases: Path, folder: Path, *options: str, **more: Any) -> list[str]:
    values = {**SMALL[bundle], "dataset_dir": str(cases), "output_dir": str(folder / "eval"), **more}
    return [*torchrun(*options), *bundle_command(BUNDLES / bundle, configs, values)[1:]]


def training(bundle: str, cases: Path, folder: Path, *options: str, **more: Any) -> list[str]:
    values = {**TRAINING[bundle], "ckpt_dir": str(folder / "models"), "epochs": EPOCHS, "val_interval": 1, **more}
    return command(bundle, ["train.json", "multi_gpu_train.json"], cases, folder, *options, **values)


def run(line: list[str]) -> str:
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "models" / "model_final.pt", weights_only=True)
    return found


@pytest.fixture(scope="module")
def trained(pair_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Folder and output of a training of each bundle in two processes."""
    made = {}
    for bundle in SMALL:
        folder = tmp_path_factory.mktemp(bundle)
        made[bundle] = folder, run(training(bundle, pair_cohort, folder))
    return made


@each_bundle
def test_two_processes_train_together(trained: dict[str, tuple[Path, str]], bundle: str) -> None:
    folder, printed = trained[bundle]
    assert {path.name for path in (folder / "models").iterdir()} == {
        *("model.pt", "model_final.pt", f"training_epoch_{EPOCHS:04d}.pt")
    }
    assert not any(name.startswith("module.") for name in weights(folder))
    assert printed.count("Running on cpu, 2 processes, mixed precision off") == 1
    steps = [line for line in printed.splitlines() if "train_loss" in line]
    # 2 unlabelled cases of 3 crops, or 4 cases of 2 crops in batches of 2, dealt out to two processes
    assert len(steps) == EPOCHS * {"spine_semiseg": 3, "spine_fusion": 2}[bundle]


@each_bundle
def test_two_processes_score_as_one(
    trained: dict[str, tuple[Path, str]], bundle: str, pair_cohort: Path, tmp_path: Path
) -> None:
    values = {"checkpoint": str(trained[bundle][0] / "models" / "model.pt")}
    configs = ["train.json", "evaluate.json"]
    run(command(bundle, [*configs, "multi_gpu_evaluate.json"], pair_cohort, tmp_path / "two", **values))
    alone = command(bundle, configs, pair_cohort, tmp_path / "one", **values)
    run([sys.executable, *alone[alone.index("-m", 3) :]])
    tables = sorted(path.name for path in (tmp_path / "one" / "eval").glob("*.csv"))
    assert tables
    for name in tables:
        one, two = (list(csv.reader((tmp_path / n / "eval" / name).open(encoding="utf-8"))) for n in ("one", "two"))
        assert [len(row) for row in one] == [len(row) for row in two]
        for cell, other in zip(chain(*one), chain(*two), strict=True):
            assert cell == other or float(cell) == pytest.approx(float(other), rel=1e-4)


def test_the_others_go_on_when_one_process_is_killed(
    trained: dict[str, tuple[Path, str]], pair_cohort: Path, tmp_path: Path
) -> None:
    line = training("spine_semiseg", pair_cohort, tmp_path, "--max-restarts=1", resume="latest")
    with (tmp_path / "log").open("w") as log:
        launcher = subprocess.Popen(line, env=ENVIRONMENT, stdout=log, stderr=log)
        while not (tmp_path / "models" / "training_epoch_0002.pt").is_file():
            assert launcher.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.005)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert launcher.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
    assert "Going on from" in (tmp_path / "log").read_text()
    whole, resumed = weights(trained["spine_semiseg"][0]), weights(tmp_path)
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_too_few_cases_and_a_start_without_torchrun_are_told(cohort: Path, tmp_path: Path) -> None:
    line = training("spine_semiseg", cohort, tmp_path)
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "spinefuse: The section validation has 1 cases for 2 processes" in done.stderr
    done = subprocess.run(
        [sys.executable, *line[line.index("-m", 3) :]], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "spinefuse: The multi_gpu configs need torchrun" in done.stderr
