"""Memory and rate of the loader over a simulated cohort, for each cache, beside the rate that training needs."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bench import machine, write
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from spinefuse_ext.enums import Cache
from spinefuse_ext.verbs.demo import SMALL_FUSION

CONFIG = Path(__file__).parents[2] / "bundles" / "spine_fusion" / "configs" / "train.json"
MARKS = (0.05, 0.25, 0.5, 1.0)  # shares of the cohort after which memory is read


def write_cohort(folder: Path, pairs: int, size: int) -> None:
    """Pairs of one sagittal slice each, 1 mm, noise with a body in its middle; the last one is for validation."""
    rng = np.random.default_rng(0)
    inside = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, size)] * 2)) < 0.8
    items = []
    for number in range(pairs + 1):
        item = {"patient": f"patient_{number:05d}"}
        for key, low, high in (("ct", -200, 1000), ("mr", 0, 500)):
            voxels = np.where(inside, rng.integers(low, high, (1, size, size)), -1000 if key == "ct" else 0)
            item[key] = f"{item['patient']}_{key}.nii"
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)), folder / item[key])
        items.append(item)
    sections = {"labelled": [], "unlabelled": items[:-1], "validation": items[-1:]}
    (folder / "datalist.json").write_text(json.dumps(sections), encoding="utf-8")


def training(folder: Path, cache: str, **changes: Any) -> ConfigParser:
    """The training of the fusion bundle with the small network of the demo, one crop of each pair per epoch."""
    parser = ConfigParser(ConfigParser.load_config_file(CONFIG))
    parser.update({"dataset_dir": str(folder), "bundle_root": str(folder), **SMALL_FUSION, **changes})
    parser.update({"crops_per_case": 1, "cache": cache})
    return parser


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def load(folder: Path, cache: str) -> list[float]:
    """Peak memory at the start and at each mark, and crops per second of the first and of the second epoch."""
    loader = training(folder, cache).get_parsed_content("train#dataloader")
    count = len(loader.dataset)
    peaks, rates = [peak_mib()], []
    for epoch in range(2):
        start, done = time.perf_counter(), 0
        for batch in loader:
            before, done = done, done + len(batch["image"])
            peaks += [peak_mib() for mark in MARKS if epoch == 0 and before < mark * count <= done]
        rates.append(count / (time.perf_counter() - start))
    return [*peaks, *rates]


def train(folder: Path, cache: str) -> list[float]:
    """Peak memory as of :func:`load`, over an epoch of stage 2; items per second of the loader and of the step."""
    changes = {"epochs": 1, "stage1_epochs": 0, "val_interval": 2}
    trainer: Engine = training(folder, cache, **changes).get_parsed_content("train#trainer")
    count = len(trainer.data_loader.dataset)
    peaks, spent, since = [peak_mib()], {"load": 0.0, "step": 0.0}, time.perf_counter()

    def spend(what: str) -> None:
        nonlocal since
        since, before = time.perf_counter(), since
        spent[what] += since - before

    def watch(engine: Engine) -> None:
        done = engine.state.iteration * trainer.data_loader.batch_size
        before = done - trainer.data_loader.batch_size
        peaks.extend(peak_mib() for mark in MARKS if before < mark * count <= done)

    for event, what in (
        (Events.GET_BATCH_STARTED, "other"),
        (Events.GET_BATCH_COMPLETED, "load"),
        (Events.ITERATION_STARTED, "other"),
        (Events.ITERATION_COMPLETED, "step"),
    ):
        spent[what] = 0.0
        trainer.add_event_handler(event, lambda _, what=what: spend(what))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch)
    trainer.run()
    return [*peaks, count / spent["load"], count / spent["step"]]


def _measure(job: Callable[..., list[float]], folder: Path, cache: str, threads: int, queue: Any) -> None:
    logging.disable()
    torch.set_num_threads(threads)
    set_determinism(0)
    queue.put(job(folder, cache))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128, help="pixels along an axis of a slice")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    write(f"{machine(options.threads)}\n{options.pairs} pairs of {options.size} x {options.size} pixels\n")
    marks = "".join(f"{f'{round(mark * options.pairs)}':>8}" for mark in MARKS)
    context = multiprocessing.get_context("spawn")
    jobs: list[tuple[str, Callable[..., list[float]], str]] = [(f"load, {cache}", load, cache) for cache in Cache]
    jobs.append(("train, disk", train, Cache.DISK))
    with tempfile.TemporaryDirectory() as name:
        write_cohort(Path(name), options.pairs, options.size)
        write(f"{'peak MiB after this many pairs':<32}{'start':>8}{marks}{'pairs/s':>10}{'then':>10}\n")
        for label, job, cache in jobs:
            queue = context.Queue()
            process = context.Process(target=_measure, args=(job, Path(name), str(cache), options.threads, queue))
            process.start()
            values = queue.get()
            process.join()
            peaks = "".join(f"{peak:>8.0f}" for peak in values[:-2])
            write(f"{label:<32}{peaks}{values[-2]:>10.0f}{values[-1]:>10.0f}\n")
    write("load: pairs/s of the first epoch, then of the second. train: of the loader, then of the network's step.\n")


if __name__ == "__main__":
    main()
