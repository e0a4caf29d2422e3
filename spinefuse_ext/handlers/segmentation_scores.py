"""Tables of a segmentation's scores, case by case and structure by structure, while an evaluator runs."""

from __future__ import annotations

import csv
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from torch import nn

from spinefuse_ext.enums import CaseKeys, SubNetwork
from spinefuse_ext.files import atomic_write
from spinefuse_ext.handlers.outputs import case_meta
from spinefuse_ext.metrics.segmentation import (
    NOT_IN_TRUTH,
    SEGMENTATION_SCORES,
    false_volumes_ml,
    segmentation_table,
)
from spinefuse_ext.validation import check_names, check_number

logger = logging.getLogger(__name__)

_MEAN = "mean"  # of the structures of a case
_SINGLE = "single"
_FALSE = "false_volume_ml"
Table = dict[str, dict[str, float]]
CaseTable = tuple[str, str, Table]  # network, case, scores by structure, and the false volume
Row = dict[str, Any]


class SegmentationScoresHandler:
    """Write ``scores.csv``, a row for each network, case and structure, and ``summary.csv`` with mean and SD.

    The scores are those of ``segmentation_table``, in mm on the grid of each case. Labels are taken from the output
    as volumes ``(1, *S)`` or one-hot ``(K, *S)``: ``pred``, and ``pred_unet`` and ``pred_vnet`` where there are any.

    A structure that the truth of a case does not hold has no scores there (NaN), ``not in the truth`` in the column
    ``note``, and what was predicted of it all the same as ``false_volume_ml``. One that no case holds and that nobody
    predicted has no rows, which is said in the log.

    The summary is over the cases whose truth holds a structure: their number (``cases``), in how many of them the Dice
    is 0 (``missed``: not predicted, then the distances are the diagonal of the volume, or no overlap), mean and sample
    SD of each score; then the number of cases without it (``not_in_truth``) and the mean ``false_volume_ml`` of these.
    ``structure`` ``mean`` is the mean over the structures of a case.

    Args:
        save_dir: folder of both files.
        labels: names of the K classes, background first.
        tolerance_mm: of the surface Dice.
        network: the network that is evaluated; what ``pred`` is called in the column ``network`` is the ``output`` of
            a network that has one (``mean``, ``unet`` or ``vnet`` of a pair), else ``single``.
        checkpoint: the file of the weights; its name stands in each row, so that tables of several can be joined.
    """

    def __init__(
        self,
        save_dir: str | Path,
        labels: Sequence[str],
        *,
        tolerance_mm: float = 1.0,
        network: nn.Module | None = None,
        checkpoint: str | Path = "",
    ) -> None:
        self.save_dir = Path(save_dir)
        self.labels = dict(enumerate(check_names("labels", labels)))
        self.tolerance_mm = check_number("tolerance_mm", tolerance_mm, least=0)
        pred = str(getattr(network, "output", _SINGLE))
        others = [str(name) for name in SubNetwork if name not in (SubNetwork.MEAN, pred)]
        self.keys = {pred: str(CaseKeys.PRED)} | {name: f"{CaseKeys.PRED}_{name}" for name in others}
        self.checkpoint = Path(checkpoint).name
        self.tables: list[CaseTable] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def __call__(self, engine: Engine) -> None:
        """Score every case of the batch."""
        names = case_meta()(cast(Sequence[dict[str, Any]], engine.state.batch))
        for item, name in zip(cast(Sequence[dict[str, Any]], engine.state.output), names, strict=True):
            self._score(item, name[ImageMetaKey.FILENAME_OR_OBJ])

    def _start(self, engine: Engine) -> None:
        self.tables = []

    def _score(self, item: dict[str, Any], case: str) -> None:
        label = _volume(item[CaseKeys.LABEL])
        for network, key in self.keys.items():
            if key in item:
                volumes = _volume(item[key]), label
                table = segmentation_table(*volumes, self.labels, tolerance_mm=self.tolerance_mm)
                false_ml = false_volumes_ml(*volumes, self.labels)
                scored = {name: {**scores, _FALSE: false_ml.get(name, math.nan)} for name, scores in table.items()}
                self.tables.append((network, case, scored))

    def _write(self, engine: Engine) -> None:
        tables = _of_all_ranks(self.tables)
        if idist.get_rank():
            return
        tables = _without_unknown(tables)
        rows = [self._row(network, case, table, name) for network, case, table in tables for name in table]
        _write_csv(self.save_dir / "scores.csv", rows)
        rows += [self._row(network, case, _with_mean(table), _MEAN) for network, case, table in tables]
        groups: dict[tuple[str, str], list[Row]] = {(row["network"], row["structure"]): [] for row in rows}
        for row in rows:
            groups[row["network"], row["structure"]].append(row)
        _write_csv(self.save_dir / "summary.csv", [_summary(group) for group in groups.values()])

    def _row(self, network: str, case: str, table: Table, structure: str) -> Row:
        place = {"checkpoint": self.checkpoint, "network": network, "case": case, "structure": structure}
        return {**place, **table[structure], "note": _note(table[structure])}


def _of_all_ranks(tables: list[CaseTable]) -> list[CaseTable]:
    """Tables of every process in the order of the cases, which were dealt out one by one; each case once."""
    world = idist.get_world_size()
    if world == 1:
        return tables
    gathered: list[Any] = [None] * world
    dist.all_gather_object(gathered, tables)
    dealt: dict[str, list[tuple[int, list[CaseTable]]]] = {}
    for rank, found in enumerate(gathered):
        for place, (case, group) in enumerate(groupby(found, key=itemgetter(1))):
            dealt.setdefault(case, []).append((place * world + rank, list(group)))
    first = sorted((min(groups, key=itemgetter(0)) for groups in dealt.values()), key=itemgetter(0))
    return [table for _, group in first for table in group]


def _without_unknown(tables: list[CaseTable]) -> list[CaseTable]:
    """The tables without structures that no truth holds and nobody predicted; these are said."""
    names = dict.fromkeys(name for _, _, table in tables for name in table)
    unknown = [name for name in names if all(table[name].get(_FALSE) == 0 for _, _, table in tables)]
    for name in unknown:
        logger.warning("%s is %s of any case, nor was it predicted: it has no rows.", name, NOT_IN_TRUTH)
    return [
        (network, case, {name: scores for name, scores in table.items() if name not in unknown})
        for network, case, table in tables
    ]


def _note(scores: Mapping[str, float]) -> str:
    """What is to be said of a structure that the truth does not hold; nothing of any other."""
    false_ml = scores[_FALSE]
    if math.isnan(false_ml):
        return ""
    return f"{NOT_IN_TRUTH}, but {false_ml:.3g} ml predicted" if false_ml else NOT_IN_TRUTH


def _volume(labels: torch.Tensor) -> MetaTensor:
    """``(1, *S)`` from a label volume or from one that is one-hot."""
    return cast(MetaTensor, labels if labels.shape[0] == 1 else labels.argmax(dim=0, keepdim=True))


def _with_mean(table: Table) -> Table:
    """The table with the mean of each score over the structures that have a value."""
    means = {score: _mean_sd([*table.values()], score)[0] for score in SEGMENTATION_SCORES}
    return table | {_MEAN: {**means, _FALSE: math.nan}}


def _summary(rows: Sequence[Row]) -> Row:
    """Number of cases, cases without overlap, mean and SD of each score, of one network and structure."""
    dice = [row["dice"] for row in rows if math.isfinite(row["dice"])]
    place = {name: rows[0][name] for name in ("checkpoint", "network", "structure")}
    scores: Row = {"cases": len(dice), "missed": dice.count(0)}
    for score in SEGMENTATION_SCORES:
        scores[f"{score}_mean"], scores[f"{score}_sd"] = _mean_sd(rows, score)
    scores["not_in_truth"] = sum(math.isfinite(row[_FALSE]) for row in rows)
    scores[f"{_FALSE}_mean"] = _mean_sd(rows, _FALSE)[0]
    return place | scores


def _mean_sd(rows: Sequence[dict[str, Any]], score: str) -> tuple[float, float]:
    """Mean and sample standard deviation of the values that are finite; NaN where there are too few."""
    values = [row[score] for row in rows if math.isfinite(row[score])]
    mean = statistics.fmean(values) if values else math.nan
    return mean, statistics.stdev(values) if len(values) > 1 else math.nan


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["case"])
        writer.writeheader()
        writer.writerows(rows)
