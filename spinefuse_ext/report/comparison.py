"""The scores of several methods side by side: mean and standard deviation, and who wins image by image."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spinefuse_ext.files import atomic_write
from spinefuse_ext.report.fusion_section import LOWER_IS_BETTER, SHORT_NAMES
from spinefuse_ext.report.tables import DASH, Better, Table, Value
from spinefuse_ext.validation import SpinefuseError, check_exists

_KEYS = ("case", "slice")


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one slice of a case, or of the whole case (index None), by name; NaN is one not defined."""

    case: str
    index: int | None
    values: Mapping[str, float]


#: Per method, everything that was scored: slices, or whole cases.
Comparison = Mapping[str, Sequence[ScoreRow]]


class MeanSd(float):
    """A mean that carries the sample standard deviation (divisor n - 1) and the number of what it is the mean of."""

    sd: float
    count: int

    def __new__(cls, mean: float, sd: float = math.nan, count: int = 1) -> MeanSd:
        made = super().__new__(cls, mean)
        made.sd, made.count = sd, count
        return made

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanSd:
        """Of the values that are finite: NaN when there is none, and an SD of NaN when there is only one."""
        finite = [float(value) for value in values if math.isfinite(value)]
        mean = statistics.fmean(finite) if finite else math.nan
        return cls(mean, statistics.stdev(finite) if len(finite) > 1 else math.nan, len(finite))

    def __format__(self, spec: str) -> str:
        sd = format(self.sd, spec) if math.isfinite(self.sd) else DASH
        return f"{float(self):{spec}} ± {sd}"


@dataclass(frozen=True)
class ScoreTable(Table):
    """A row a method; the best number of every marked column is marked, ties too, and no worst."""

    def mark(self, column: int, value: Value) -> str:
        numbers = [float(row[column]) for row in self.rows if isinstance(row[column], float)]
        finite = [number for number in numbers if math.isfinite(number)]
        wins = self.better.get(self.header[column])
        if wins is None or not isinstance(value, float) or len(finite) < 2 or min(finite) == max(finite):
            return ""
        return "best" if value == (max(finite) if wins == "high" else min(finite)) else ""


def score_table(scores: Comparison, *, over: str = "slices") -> ScoreTable:
    """Mean and SD of every score, a row a method.

    Args:
        scores: slices of each method.
        over: ``slices`` takes every slice of every case as one image, as published tables do; ``cases`` takes the mean
            of each case's slices first, so that a case counts once however many slices it has.
    """
    if over not in ("slices", "cases"):
        raise ValueError(f"Expected over='slices' or 'cases', got {over!r}.")
    names = score_names(scores)
    rows: list[tuple[Value, ...]] = []
    for method, slices in scores.items():
        groups = _by_case(slices).values() if over == "cases" else [[one] for one in slices]
        cells = [MeanSd.of([MeanSd.of([one.values[name] for one in group]) for group in groups]) for name in names]
        rows.append((method, *cells))
    header = ("Method", *(SHORT_NAMES.get(name, name) for name in names))
    low = [SHORT_NAMES.get(name, name) for name in names if name in LOWER_IS_BETTER]
    direction = f"higher is better (lower in {', '.join(low)})" if low else "higher is better"
    caption = f"Mean ± standard deviation over {_amount(scores, over)}; {direction}, the best of each column is marked"
    better: dict[str, Better] = {name: "low" if name in low else "high" for name in header[1:]}
    return ScoreTable(header, tuple(rows), caption=caption, better=better)


def wins_table(scores: Comparison) -> Table:
    """Percent of slices (or cases) on which the first method scores better than each other; equal scores count half.

    It pairs the methods image by image, so the spread between images, which the SD is mostly made of, drops out.
    """
    first, *others = scores
    names = score_names(scores)
    mine = {(one.case, one.index): one.values for one in scores[first]}
    rows: list[tuple[Value, ...]] = []
    for other in others:
        pairs = [(mine[key], one.values) for one in scores[other] if (key := (one.case, one.index)) in mine]
        sign = {name: -1 if name in LOWER_IS_BETTER else 1 for name in names}
        wins = (
            _wins([(sign[name] * ours[name], sign[name] * theirs[name]) for ours, theirs in pairs]) for name in names
        )
        rows.append((other, *wins))
    header = (f"{first} against", *(SHORT_NAMES.get(name, name) for name in names))
    caption = f"Percent of {_unit(scores)} on which {first} scores better; 50 means as good as each other"
    return Table(header, tuple(rows), caption=caption, digits=0)


def _wins(pairs: Sequence[tuple[float, float]]) -> float:
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    points = sum(1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in finite)
    return 100 * points / len(finite) if finite else math.nan


def score_names(scores: Comparison) -> list[str]:
    """Names of the scores, in the order of the literature, then any others."""
    found = dict.fromkeys(name for slices in scores.values() for one in slices for name in one.values)
    return [*(name for name in SHORT_NAMES if name in found), *(name for name in found if name not in SHORT_NAMES)]


def undefined(scores: Comparison) -> list[str]:
    """A sentence for each method and score that is not defined on some slices."""
    sentences = []
    for method, slices in scores.items():
        for name in score_names(scores):
            missing = sum(not math.isfinite(one.values[name]) for one in slices)
            if missing:
                sentences.append(
                    f"{name} of {method} is not defined on {missing} of {len(slices)} {_unit(scores)}, left out above."
                )
    return sentences


def _by_case(slices: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    cases: dict[str, list[ScoreRow]] = {}
    for one in slices:
        cases.setdefault(one.case, []).append(one)
    return cases


def _unit(scores: Comparison) -> str:
    whole = all(one.index is None for scored in scores.values() for one in scored)
    return "cases" if whole else "slices"


def _amount(scores: Comparison, over: str) -> str:
    slices = next(iter(scores.values()), [])
    cases = len(_by_case(slices))
    told = f"{cases} case{'s' * (cases != 1)}"
    if _unit(scores) == "cases":
        return told
    if over == "slices":
        return f"{len(slices)} slice{'s' * (len(slices) != 1)} of {told}"
    return f"{told} (mean of its slices each)"


def write_scores(path: str | Path, slices: Sequence[ScoreRow]) -> None:
    """Write one row a slice, ``case,slice,<score>,...``, or one a case without ``slice``; with every digit."""
    names = score_names({"": slices})
    keys = _KEYS if any(one.index is not None for one in slices) else _KEYS[:1]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*keys, *names))
        writer.writerows(
            (*(one.case, one.index)[: len(keys)], *(repr(one.values[name]) for name in names)) for one in slices
        )


def read_scores(path: str | Path) -> list[ScoreRow]:
    """Read what :func:`write_scores` wrote.

    Raises:
        MissingPathError: no such file.
        SpinefuseError: the file holds something else.
    """
    with check_exists(path, "The file of scores").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [
            ScoreRow(
                row["case"],
                int(row["slice"]) if "slice" in row else None,
                {name: float(value) for name, value in row.items() if name not in _KEYS},
            )
            for row in rows
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise SpinefuseError(
            f"{path} should hold a row of scores per case and slice; delete it and score again."
        ) from error
