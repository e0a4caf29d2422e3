"""Tables of numbers, and the metric files that MONAI's ``MetricsSaver`` leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from spinefuse_ext.validation import SpinefuseError, check_exists

Better = Literal["high", "low"]
Value = str | float | int
#: Stands for a number that does not exist.
DASH = "\N{EN DASH}"
_RAW, _SUMMARY = "_raw.csv", "_summary.csv"


@dataclass(frozen=True)
class Table:
    """Rows under a header; ``better`` says per column whether "high" or "low" numbers win, to mark best and worst.

    ``links`` names, per row that has one, the place on the page that its first cell leads to; ``flagged`` the cells
    (row, column) that are to be seen first; ``prose`` the columns that hold sentences.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: str = ""
    digits: int = 3
    better: Mapping[str, Better] = field(default_factory=dict)
    links: Mapping[int, str] = field(default_factory=dict)
    flagged: frozenset[tuple[int, int]] = frozenset()
    prose: frozenset[str] = frozenset()

    def text(self, value: Value) -> str:
        """A cell as the page prints it: floats with ``digits`` decimals, a dash for what is not finite."""
        if not isinstance(value, float):
            return str(value)
        return f"{value:.{self.digits}f}" if math.isfinite(value) else DASH

    def mark(self, column: int, value: Value) -> str:
        """``best`` or ``worst`` for the extreme numbers of a marked column with three different rows or more."""
        wins = self.better.get(self.header[column])
        numbers = [number for row in self.rows if isinstance(number := row[column], float) and math.isfinite(number)]
        if wins is None or not isinstance(value, float) or len(numbers) < 3 or min(numbers) == max(numbers):
            return ""
        best, worst = (max(numbers), min(numbers)) if wins == "high" else (min(numbers), max(numbers))
        return {best: "best", worst: "worst"}.get(value, "")

    def style(self, row: int, column: int) -> str:
        """CSS classes of a cell beside its mark."""
        flagged = ["flagged"] if (row, column) in self.flagged else []
        return " ".join([*flagged, *(["prose"] if self.header[column] in self.prose else [])])


@dataclass(frozen=True)
class MetricsReport:
    """What one ``MetricsSaver`` wrote: overall values, and per metric the cases x classes and the summary."""

    overall: dict[str, Value]
    per_case: dict[str, Table]
    summary: dict[str, Table]


def read_metrics_csv(folder: str | Path) -> MetricsReport:
    """Read ``metrics.csv``, ``<metric>_raw.csv`` and ``<metric>_summary.csv`` of one folder; absent files give nothing.

    Raises:
        MissingPathError: ``folder`` does not exist.
        SpinefuseError: a file is not what ``MetricsSaver`` writes.
    """
    folder = check_exists(folder, "Folder of metrics")
    overall = folder / "metrics.csv"
    return MetricsReport(
        overall=_read_overall(overall) if overall.is_file() else {},
        per_case={file.name.removesuffix(_RAW): _read_grid(file) for file in sorted(folder.glob(f"*{_RAW}"))},
        summary={file.name.removesuffix(_SUMMARY): _read_grid(file) for file in sorted(folder.glob(f"*{_SUMMARY}"))},
    )


def _read_overall(file: Path) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, found, value = line.partition("\t" if "\t" in line else ",")
        if not found:
            raise SpinefuseError(f"{file} should hold lines of 'name,value', got {line!r}; run the evaluation again.")
        values[name] = _number(value)
    return values


def _read_grid(file: Path) -> Table:
    """The first column is text, the others numbers; MetricsSaver quotes nothing, so a file name may hold commas."""
    header, *lines = file.read_text(encoding="utf-8").splitlines() or [""]
    separator = "\t" if "\t" in header else ","
    names = tuple(header.split(separator))
    rows = [line.rsplit(separator, len(names) - 1) for line in lines]
    if len(names) < 2 or any(len(row) != len(names) for row in rows):
        raise SpinefuseError(
            f"{file} should hold a header and rows of as many columns as MONAI's MetricsSaver writes, "
            f"got {header!r} and {len(rows)} rows; run the evaluation again."
        )
    return Table(names, tuple((row[0], *(_number(cell) for cell in row[1:])) for row in rows))


def _number(cell: str) -> Value:
    try:
        return float(cell)
    except ValueError:
        return cell


def short_names(paths: list[str]) -> list[str]:
    """The shortest ends of paths that tell them apart, without image suffixes and without a last part all share."""
    parts = [PurePath(path).parts or (path,) for path in paths]
    if len(paths) > 1 and all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    for depth in range(1, max((len(one) for one in parts), default=0) + 1):
        names = ["/".join(one[-depth:]).removesuffix(".gz").removesuffix(".nii") for one in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
