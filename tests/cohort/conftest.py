"""Four small phantoms and a way to write their table."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from spinefuse_ext.data import make_phantom, write_phantom

COLUMNS = ("case", "patient", "ct", "mr", "ct_landmarks", "mr_landmarks")


@pytest.fixture(scope="session")
def _phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    for seed in range(4):
        write_phantom(make_phantom(seed, size_mm=(48, 72, 72), spacing_mm=3.0), root / f"p{seed}", dicom=seed == 0)
    return root


@pytest.fixture
def phantoms(_phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the phantoms ``p0`` to ``p3`` that a test may change; ``p0`` also as DICOM."""
    return Path(shutil.copytree(_phantoms, tmp_path / "phantoms"))


@pytest.fixture
def write_table(phantoms: Path) -> Callable[..., Path]:
    """Return a function that writes ``cohort.csv`` beside the phantoms: rows of some of them, cells changed by name."""

    def write(*numbers: int, **changed: dict[str, Any]) -> Path:
        rows = []
        for number in numbers:
            images = {name: f"p{number}/{name}.nii.gz" for name in ("ct", "mr")}
            points = {f"{name}_landmarks": f"p{number}/{name}_landmarks.fcsv" for name in ("ct", "mr")}
            row = {"case": f"p{number}", "patient": f"patient {number}", **images, **points}
            rows.append({**row, **changed.get(f"p{number}", {})})
        path = phantoms / "cohort.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, sorted({*COLUMNS, *(name for row in rows for name in row)}), restval="")
            table.writeheader()
            table.writerows(rows)
        return path

    return write


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``prepare_cohort`` do its cases here, one by one: a process of its own first imports for many seconds."""

    def run_all(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
        yield from ((job, done(work, job)) for job in jobs)

    def done(work: Callable[[Any], Any], job: Any) -> Any:
        try:
            return work(job)
        except Exception as error:
            return error

    monkeypatch.setattr("spinefuse_ext.cohort.work.run_all", run_all)
