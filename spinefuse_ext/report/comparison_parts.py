"""What the pages of all comparisons share: the leading facts, the table files, and how everything was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from spinefuse_ext import __version__
from spinefuse_ext.report.comparison import Comparison
from spinefuse_ext.report.page import Fact, Section
from spinefuse_ext.report.run_sections import duration
from spinefuse_ext.report.table_files import write_latex, write_table_csv
from spinefuse_ext.report.tables import DASH, Table

PAGE, TABLE = "comparison.html", "table"


@dataclass(frozen=True)
class Provenance:
    """How a comparison was made: seconds per method and step, the settings given, and the commands."""

    steps_s: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, str]
    commands: Sequence[str]


def save_tables(out: Path, tables: Mapping[str, Table], *, label: str) -> None:
    """Write each table as ``<name>.csv``, and the one named ``table`` also for LaTeX."""
    for name, table in tables.items():
        write_table_csv(out / f"{name}.csv", table)
    write_latex(out / f"{TABLE}.tex", tables[TABLE], label=label)


def leading_facts(scores: Comparison, table: Table) -> list[Fact]:
    """The methods, and in which columns of their table the first one is best."""
    first, names = next(iter(scores)), table.header[1:]
    row = table.rows[list(scores).index(first)]
    best = [name for column, name in enumerate(names, start=1) if table.mark(column, row[column])]
    lead = Fact(f"{len(best)} of {len(names)}", f"scores in which {first} is best", ", ".join(best))
    return [Fact(str(len(scores)), "methods", ", ".join(scores)), *([lead] if len(scores) > 1 else [])]


def comparison_provenance(provenance: Provenance, what: str) -> Section:
    """Times, settings and commands; ``what`` completes the sentence that these commands did it."""
    steps = list(dict.fromkeys(step for times in provenance.steps_s.values() for step in times))
    rows = tuple(
        (method, *(duration(times[step]) if step in times else DASH for step in steps))
        for method, times in provenance.steps_s.items()
    )
    tables = [Table(("Method", *steps), rows, caption="Time of each step")]
    if provenance.settings:
        tables.append(Table(("Setting", "Value"), tuple(provenance.settings.items()), caption="Given for all methods"))
    text = [f"These commands {what}."]
    return Section(heading="How it was made", text=text, tables=tables, command="\n".join(provenance.commands))


def footer() -> str:
    """Version and time, under every page."""
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"Written by spinefuse {__version__} on {made}. Not for diagnosis."
