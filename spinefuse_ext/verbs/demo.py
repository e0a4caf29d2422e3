"""The whole job on phantom cases, through the same commands that a user types."""

from __future__ import annotations

import json
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spinefuse_ext.files import atomic_write, check_output_folder, empty_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.runs.run import run_bundle
from spinefuse_ext.validation import ConfigError
from spinefuse_ext.verbs.paths import find_bundle

#: Small sizes and few epochs, for two CPU cores. Everything else is as shipped.
SMALL_FUSION: dict[str, Any] = {
    "canvas": [128, 128],
    "patch_size": [64, 64],
    "crops_per_case": 12,
    "batch_size": 8,
    "val_interval": 4,
    "learning_rate": 0.002,
    "network_def#dim": 16,
    "network_def#num_blocks": [1, 1],
    "network_def#num_heads": 4,
    "sw_batch_size": 16,
}
SMALL_SEMISEG: dict[str, Any] = {
    "canvas": [128, 128],
    "crops_per_case": 24,
    "val_interval": 2,
    "learning_rate": 0.05,
    "vnet_channels": [8, 16, 32, 64, 128],
    "vnet_dropout": 0.1,
    "sw_batch_size": 32,
}
DONE = "commands.txt"


def demo(
    out: str = "demo",
    *,
    cases: int = 8,
    seed: int = 1,
    size_mm: float = 112.0,
    spacing_mm: float = 1.0,
    fusion_epochs: int = 12,
    semiseg_epochs: int = 12,
) -> None:
    """Make phantoms, register, train both bundles, fuse, segment and report, all below the folder ``out``.

    Args:
        out: folder to write; one that an earlier demo wrote is replaced, any other must be empty.
        cases: number of phantom patients: 2 keep their labels, 1 validates, 1 is held out, the rest are unlabelled.
        seed: of the first phantom and of both trainings.
        size_mm: side of the phantoms in mm.
        spacing_mm: voxel size of their CT in mm.
        fusion_epochs: epochs of the fusion training, a third of them in stage 1.
        semiseg_epochs: epochs of the segmentation training.

    Raises:
        ConfigError: fewer than 5 cases, or ``out`` holds something else.
    """
    if cases < 5:
        raise ConfigError(f"The demo needs 5 cases (2 labelled, 1 unlabelled, 1 validation, 1 test), got {cases}.")
    run = _Run(_emptied(Path(out).absolute()))
    with run.step("Make phantom cases: CT, MR in another posture, landmarks, labels, as NIfTI and DICOM"):
        _make_phantoms(run, cases, seed, size_mm, spacing_mm)
    with run.step("Register each MR to its CT by landmarks, from the DICOM series"):
        _register(run, seed)
    with run.step("Train the fusion network"):
        epochs = {"epochs": fusion_epochs, "stage1_epochs": max(1, fusion_epochs // 3)}
        run.bundle("fusion", ["train.json"], "fusion", {**SMALL_FUSION, **epochs, "seed": seed})
    fusion = inference_settings("fusion", SMALL_FUSION)
    with run.step("Fuse every pair"):
        weights = str(run.folder / "fusion" / "models" / "model.pt")
        settings = {**fusion, "checkpoint": weights, "output_dir": str(run.cases)}
        run.bundle("fusion", ["inference.json"], None, settings)
    with run.step("Score the fused volumes"):
        run.bundle("fusion", ["train.json", "evaluate.json"], "fusion", fusion)
        run.datalist(seed)
    with run.step("Train the segmentation on 2 labelled cases and the unlabelled ones"):
        run.bundle("semiseg", ["train.json"], "semiseg", {**SMALL_SEMISEG, "epochs": semiseg_epochs, "seed": seed})
    small = inference_settings("semiseg", SMALL_SEMISEG)
    with run.step("Score the segmentation and label the held-out case"):
        run.bundle("semiseg", ["train.json", "evaluate.json"], "semiseg", {**small, "sections": ["validation", "test"]})
        weights = str(run.folder / "semiseg" / "models" / "model.pt")
        settings = {**small, "checkpoint": weights, "output_dir": str(run.cases), "sections": ["validation", "test"]}
        run.bundle("semiseg", ["inference.json"], None, settings)
    run.finish()


def inference_settings(task: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a training that inference knows too: sizes of the networks and of what they see."""
    known = bundle_config(find_bundle(task), ("inference.json",))
    return {name: value for name, value in settings.items() if name.partition("#")[0] in known}


class _Run:
    """One demo: its folders, the commands it ran and how long they took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = folder / "cases"
        self.commands: list[str] = []
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        sys.stdout.write(f"\n=== {len(self.timings_s) + 1}. {title}\n")
        sys.stdout.flush()
        started = time.perf_counter()
        yield
        self.timings_s[title] = round(time.perf_counter() - started, 1)
        sys.stdout.write(f"=== done in {self.timings_s[title]} s\n")

    def note(self, command: list[str]) -> None:
        self.commands.append(shlex.join(command))
        sys.stdout.write(f"$ {self.commands[-1]}\n")

    def bundle(self, task: str, configs: list[str], run_folder: str | None, settings: dict[str, Any]) -> None:
        """Run a bundle on the demo's cases; ``run_folder`` receives weights and tables."""
        paths: dict[str, Any] = {"dataset_dir": str(self.cases)}
        if run_folder:
            paths["ckpt_dir"] = str(self.folder / run_folder / "models")
            paths["output_dir"] = str(self.folder / run_folder / "eval")
        command = run_bundle(find_bundle(task), configs, {**paths, **settings})
        self.commands.append(command)

    def datalist(self, seed: int) -> None:
        from spinefuse_ext.data import make_datalist

        options = ["--labelled", "2", "--validation", "1", "--test", "1", "--seed", str(seed)]
        self.note(["spinefuse", "datalist", str(self.cases), *options])
        make_datalist(self.cases, labelled=2, validation=1, test=1, seed=seed)

    def finish(self) -> None:
        from spinefuse_ext.report import build_report

        with atomic_write(self.folder / "timings.json") as path:
            path.write_text(json.dumps(self.timings_s, indent=4), encoding="utf-8")
        with atomic_write(self.folder / DONE) as path:
            path.write_text("\n".join(self.commands) + "\n", encoding="utf-8")
        report = build_report(self.folder)
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        minutes = sum(self.timings_s.values()) / 60
        sys.stdout.write(f"\n{minutes:.1f} minutes, at most {peak_gib:.1f} GiB of memory.\nOpen {report}\n")


def _emptied(folder: Path) -> Path:
    check_output_folder(folder)
    if folder.exists() and any(data_paths(folder.iterdir())):
        if not (folder / "phantom").is_dir():
            raise ConfigError(f"{folder} is not empty and no demo wrote it; give another folder with --out.")
        empty_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_phantoms(run: _Run, cases: int, seed: int, size_mm: float, spacing_mm: float) -> None:
    from spinefuse_ext.data import write_phantoms

    out = str(run.folder / "phantom")
    options = ["--cases", str(cases), "--seed", str(seed), "--size_mm", json.dumps([size_mm] * 3)]
    run.note(["spinefuse", "phantom", out, *options, "--spacing_mm", str(spacing_mm)])
    write_phantoms(out, cases=cases, seed=seed, size_mm=(size_mm,) * 3, spacing_mm=spacing_mm)


def _register(run: _Run, seed: int) -> None:
    from spinefuse_ext.registration import register_case

    for case in sorted(data_paths((run.folder / "phantom").iterdir())):
        if not case.is_dir():
            continue
        inputs: dict[str, Any] = {
            "ct": str(case / "ct_dicom"),
            "mr": str(case / "mr_dicom"),
            "ct_landmarks": str(case / "ct_landmarks.mrk.json"),
            "mr_landmarks": str(case / "mr_landmarks.fcsv"),
            "out": str(run.cases / case.name),
        }
        run.note(["spinefuse", "register", *(part for name, value in inputs.items() for part in (f"--{name}", value))])
        register_case(**inputs)
        shutil.copy(case / "label.nii.gz", run.cases / case.name / "label.nii.gz")
    run.datalist(seed)
