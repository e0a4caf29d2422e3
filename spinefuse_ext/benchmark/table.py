"""The tables of a benchmark: JSON with everything, CSV with a row a measurement, and a page in Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinefuse_ext.benchmark.panel import PARTS, PanelCase
from spinefuse_ext.benchmark.record import Record, record_of
from spinefuse_ext.benchmark.score import MERGED, SCORED
from spinefuse_ext.benchmark.trust import GOOD_DICE, Relation
from spinefuse_ext.files import atomic_write
from spinefuse_ext.report.table_files import write_table_csv
from spinefuse_ext.report.tables import Table, Value
from spinefuse_ext.validation import ConfigError, check_exists

TABLE = "table.json"
_DICE = (*SCORED, "sacrum")


@dataclass(frozen=True)
class Outcome:
    """All records of a benchmark, what they were made with, and what trust was worth."""

    name: str
    records: Sequence[Record]
    making: Mapping[str, Any]
    trust: Relation | None = None


def row_of(record: Record) -> dict[str, Value]:
    """A record as one row of numbers by column; NaN where there is none."""
    scores, bodies = record.scores, record.scores.bodies
    row: dict[str, Value] = {"group": record.group, "case": record.case, "variant": record.variant}
    row |= {name: scores.dice.get(name, math.nan) for name in _DICE}
    row |= {"mean": scores.mean, "mean_rows": scores.mean_rows, MERGED: scores.dice_rows.get(MERGED, math.nan)}
    row |= {f"{part}_recall": scores.recall.get(part, math.nan) for part in PARTS}
    row |= {"bodies": math.nan, "bodies_found": math.nan, "invented_ml": math.nan, "invented_parts": math.nan}
    if bodies is not None:
        row |= {"bodies": float(len(bodies.recall)), "bodies_found": float(bodies.found)}
        row |= {"invented_ml": bodies.invented_ml, "invented_parts": float(bodies.invented_parts)}
    row |= {"far_share": scores.far.share, "far_ml": scores.far.ml}
    row |= {"far_rows_share": scores.far_rows.share, "far_rows_ml": scores.far_rows.ml}
    row |= {"trust": _mean(record.trust.values()), "cpu_s": record.cost.cpu_s, "peak_mb": record.cost.peak_mb}
    return row


def group_rows(records: Sequence[Record]) -> list[dict[str, Value]]:
    """The mean of each column over the cases of a group and variant; bodies are summed, memory is the largest."""
    rows = []
    for group, variant in dict.fromkeys((record.group, record.variant) for record in records):
        own = [row_of(record) for record in records if (record.group, record.variant) == (group, variant)]
        row: dict[str, Value] = {"group": group, "case": f"{len(own)} case" + "s" * (len(own) > 1), "variant": variant}
        for column in list(own[0])[3:]:
            row[column] = _joined(column, [float(one[column]) for one in own])
        rows.append(row)
    return rows


def in_words(record: Record) -> str:
    """What came out of a record, in one line."""
    row = row_of(record)
    columns = ("mean", "mean_rows", "bodies_found", "bodies", "invented_ml", "far_share", "cpu_s")
    texts = {column: _text(column, row[column]) for column in columns}
    return ", ".join(f"{column} {text}" for column, text in texts.items() if text)


def sources(cases: Sequence[PanelCase]) -> dict[str, str]:
    """Where the images of each group come from, and under which licence."""
    told: dict[str, list[str]] = {}
    for case in cases:
        words = "; ".join(word for word in (case.source, case.licence) if word)
        told.setdefault(case.group, []).append(words)
    return {group: " / ".join(dict.fromkeys(filter(None, words))) for group, words in told.items()}


def write_tables(out: Path, outcome: Outcome, others: Sequence[Outcome], pictures: Mapping[str, Path]) -> None:
    """Write ``table.json``, ``table.csv`` (a row a measurement), ``groups.csv`` and ``table.md`` into ``out``."""
    content = {
        "name": outcome.name,
        "making": dict(outcome.making),
        "trust": None if outcome.trust is None else _plain(asdict(outcome.trust)),
        "groups": [_plain(row) for row in group_rows(outcome.records)],
        "cases": [record.as_json() for record in outcome.records],
    }
    with atomic_write(out / TABLE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, rows in (
        ("table.csv", [row_of(one) for one in outcome.records]),
        ("groups.csv", group_rows(outcome.records)),
    ):
        write_table_csv(out / name, Table(tuple(rows[0]), tuple(tuple(row.values()) for row in rows)))
    with atomic_write(out / "table.md") as temporary:
        temporary.write_text(page(outcome, others, pictures, out), encoding="utf-8")


def read_outcome(path: str | Path, name: str | None = None) -> Outcome:
    """Read a ``table.json`` of before.

    Raises:
        MissingPathError: there is none.
        ConfigError: it is something else.
    """
    path = check_exists(path, "The table beside which this one is put")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        records = [record_of(one) for one in content["cases"]]
        return Outcome(name or str(content["name"]), records, content["making"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no table.json of `spinefuse benchmark` ({error!r}); give one.") from error


def page(outcome: Outcome, others: Sequence[Outcome], pictures: Mapping[str, Path], out: Path) -> str:
    """The page: groups, comparison, every case, trust, pictures, and how it was made."""
    parts = [f"# Benchmark of {outcome.name}", _making(outcome), "## Groups", markdown(group_rows(outcome.records))]
    if others:
        parts += ["## Beside others", beside_others([outcome, *others])]
    parts += ["## Cases", markdown([row_of(record) for record in outcome.records])]
    if outcome.trust is not None:
        parts += ["## Trust", trust_text(outcome.trust), "![Trust and Dice](trust.png)"]
    if pictures:
        shown = [f"![{name}]({path.relative_to(out).as_posix()})" for name, path in pictures.items()]
        parts += ["## Pictures", *shown]
    return "\n\n".join(parts) + "\n"


def beside_others(outcomes: Sequence[Outcome]) -> str:
    """The mean Dice, or the share of bodies found, of each group by outcome; over the cases that all of them have."""
    shared = set.intersection(*({(one.case, one.variant) for one in outcome.records} for outcome in outcomes))
    rows: dict[tuple[str, str], dict[str, Value]] = {}
    for outcome in outcomes:
        own = [record for record in outcome.records if (record.case, record.variant) in shared]
        for row in group_rows(own):
            place = str(row["group"]), str(row["variant"])
            listed = rows.setdefault(place, {"group": place[0], "variant": place[1]})
            bodies = float(row["bodies"])
            listed[outcome.name] = float(row["bodies_found"]) / bodies if bodies > 0 else row["mean"]
            listed[f"{outcome.name}, rows"] = row["mean_rows"]
            listed[f"{outcome.name}, far"] = row["invented_ml"] if bodies > 0 else row["far_share"]
    return markdown(list(rows.values())) if rows else "No case was measured by all of them."


def markdown(rows: Sequence[Mapping[str, Value]]) -> str:
    """Rows as a Markdown table, without the columns in which nothing stands."""
    columns = [name for name in rows[0] if any(_text(name, row[name]) for row in rows)]
    lines = [columns, ["---"] * len(columns), *([_text(name, row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def trust_text(found: Relation) -> str:
    """The relation of trust and Dice in words."""
    flagged_bad, flagged_good, passed_bad, passed_good = found.counts
    return (
        f"Trust and true Dice of {found.count} structures: Spearman {found.spearman:.3f}, Pearson {found.pearson:.3f}. "
        f"Flagged {flagged_bad + flagged_good}, of which {flagged_bad} have a Dice below {GOOD_DICE}; not flagged "
        f"{passed_bad + passed_good}, of which {passed_bad} have."
    )


def _making(outcome: Outcome) -> str:
    facts = [f"- {name}: `{value}`" for name, value in outcome.making.items() if name != "sources"]
    images = [f"- {group}: {words}" for group, words in outcome.making["sources"].items()]
    return "\n".join([*facts, "", "Images:", "", *images])


def _text(column: str, value: Value) -> str:
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return ""
    if column in ("bodies", "bodies_found", "invented_parts", "peak_mb"):
        return f"{value:.0f}"
    return f"{value:.1f}" if column.endswith(("_ml", "_s")) else f"{value:.3f}"


def _joined(column: str, values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    if column in ("bodies", "bodies_found", "invented_parts", "invented_ml") and known:
        return sum(known)
    return max(known, default=math.nan) if column == "peak_mb" else _mean(known)


def _mean(values: Any) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """NaN as None, which JSON has."""
    lacking = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    return {**row, **dict.fromkeys(lacking)}
