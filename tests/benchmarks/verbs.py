"""CPU seconds, processes and memory of ``fuse`` and ``segment`` of a pair by two copies of the package, in turn.

``python tests/benchmarks/verbs.py --old COPY --new COPY --ct CT --mr MR``: each works with the ``bundles`` of its copy,
or both with those in ``--bundles DIR``. Small networks there show what a verb costs beside its network.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import fire
import nibabel as nib
import numpy as np

RESULTS = {"fuse": "fused.nii.gz", "segment": "prediction.nii.gz"}


@dataclass(frozen=True)
class Cost:
    """CPU seconds of all processes of a verb, how many they were, and the most memory that they held together."""

    cpu_s: float
    processes: int
    peak_mib: int


class Watch(threading.Thread):
    """Looks ten times a second at a process and those that it started."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen, self.peak_bytes, self.over = pid, {pid}, 0, False

    def run(self) -> None:
        while not self.over:
            now = family(self.pid)
            self.seen.update(now)
            self.peak_bytes = max(self.peak_bytes, sum(map(held_bytes, now)))
            time.sleep(0.1)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return [pid]
    return [pid, *(one for text in texts for child in text.split() for one in family(int(child)))]


def held_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def cost_of(copy: str, bundles: str, words: list[str]) -> Cost:
    """Run one verb by the copy of the package in the folder ``copy``."""
    environment = {**os.environ, "PYTHONPATH": str(Path(copy).absolute()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "spinefuse_ext", *words]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, cwd=str(Path(bundles).absolute()), stdout=quiet, stderr=quiet)
    watch = Watch(process.pid)
    watch.start()
    _, status, used = os.wait4(process.pid, 0)  # those that it waited for included
    watch.over = True
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(used.ru_utime + used.ru_stime, len(watch.seen), watch.peak_bytes >> 20)


def difference(written: dict[str, Path]) -> str:
    """How the images that both wrote differ."""
    old, new = (np.asarray(nib.load(written[name]).dataobj) for name in ("old", "new"))
    apart = np.abs(old.astype(float) - new)
    return f"{(apart > 0).sum()} of {apart.size} voxels differ, by {apart.max():.2g} at most"


def main(*verbs: str, old: str, new: str, ct: str, mr: str, bundles: str | None = None, rounds: int = 3) -> None:
    """Print a row for each verb (both without one) and copy, medians of ``rounds``, and what differs in the results."""
    copies = {"old": old, "new": new}
    ct, mr = (str(Path(path).absolute()) for path in (ct, mr))
    for verb in verbs or RESULTS:
        costs: dict[str, list[Cost]] = {"old": [], "new": []}
        with tempfile.TemporaryDirectory() as out:
            written = {name: Path(out) / name / RESULTS[verb] for name in copies}
            for turn in range(rounds):
                for name in ("old", "new") if turn % 2 == 0 else ("new", "old"):
                    words = [verb, "--ct", ct, "--mr", mr, "--out", str(written[name].parent)]
                    costs[name].append(cost_of(copies[name], bundles or copies[name], words))
            told = difference(written)
        for name, found in costs.items():
            cpu_s = statistics.median(cost.cpu_s for cost in found)
            most = max(cost.peak_mib for cost in found)
            sys.stdout.write(f"{verb} {name}: {cpu_s:.1f} CPU s, {found[0].processes} processes, {most} MiB\n")
        sys.stdout.write(f"{verb}: {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    fire.Fire(main)
