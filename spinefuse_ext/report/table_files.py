"""A table of scores as CSV for calculation and as LaTeX for a paper."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from spinefuse_ext.files import atomic_write
from spinefuse_ext.report.comparison import MeanSd
from spinefuse_ext.report.tables import DASH, Table, Value

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    DASH: "--",
}


def write_table_csv(path: str | Path, table: Table) -> None:
    """Write a table with every digit; a mean with its SD takes three columns: mean, SD and the number it is over."""
    spread = [any(isinstance(row[column], MeanSd) for row in table.rows) for column in range(len(table.header))]
    header: list[str] = []
    for name, wide in zip(table.header, spread, strict=True):
        header += [f"{name} mean", f"{name} SD", f"{name} n"] if wide else [name]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(
            [cell for value, wide in zip(row, spread, strict=True) for cell in _cells(value, wide)]
            for row in table.rows
        )


def _cells(value: Value, wide: bool) -> Sequence[Value]:
    """A value as one cell, or as the three of its column when other rows have a spread there."""
    if isinstance(value, MeanSd):
        return repr(float(value)), repr(value.sd), value.count
    cell = repr(value) if isinstance(value, float) else value
    return (cell, "", "") if wide else (cell,)


def write_latex(path: str | Path, table: Table, *, label: str) -> None:
    """Write a ``table`` environment that needs no package; the best of each column is bold."""
    columns = "l" + "r" * (len(table.header) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.caption.replace('is marked', 'is bold'))}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        _line([latex_text(name) for name in table.header]),
        r"\hline",
        *(_line([_cell(table, column, value) for column, value in enumerate(row)]) for row in table.rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def latex_text(text: str) -> str:
    """Text in which every sign that LaTeX would take for a command stands for itself."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(table: Table, column: int, value: Value) -> str:
    if not isinstance(value, float) or not math.isfinite(value):
        return latex_text(table.text(value))
    mean = f"{float(value):.{table.digits}f}"
    bold = rf"\mathbf{{{mean}}}" if table.mark(column, value) == "best" else mean
    if not isinstance(value, MeanSd) or not math.isfinite(value.sd):
        return f"${bold}$"
    return rf"${bold} \pm {value.sd:.{table.digits}f}$"
