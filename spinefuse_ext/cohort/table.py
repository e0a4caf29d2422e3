"""The table of a cohort: a CSV file with a row a case, as spreadsheets save it."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spinefuse_ext.cohort.paths import check_cell
from spinefuse_ext.enums import Section
from spinefuse_ext.names import normal_form
from spinefuse_ext.registration.models import Model
from spinefuse_ext.validation import CohortError, check_exists

_NEEDED = ("case", "patient", "ct", "mr")
_WORDS = {**dict.fromkeys(("yes", "true", "1"), True), **dict.fromkeys(("no", "false", "0"), False)}


@dataclass(frozen=True)
class CohortCase:
    """One row. Paths are as written, relative to the table's folder; empty text or None stands for an empty cell.

    ``line`` is where the row stands in the file, from 1. ``reject`` holds a person's reason for leaving the case out.
    """

    line: int
    case: str
    patient: str
    ct: str
    mr: str
    ct_landmarks: str = ""
    mr_landmarks: str = ""
    transform: str = ""
    label: str = ""
    vertebrae: str = ""
    ct_series: str = ""
    mr_series: str = ""
    model: str = ""
    section: str = ""
    refine: bool | None = None
    reject: str = ""


COLUMNS = tuple(field.name for field in fields(CohortCase) if field.name != "line")
_SERIES = ("ct_series", "mr_series")
#: Columns that name files or folders.
PATHS = ("ct", "mr", "ct_landmarks", "mr_landmarks", "transform", "label", "vertebrae")


def read_cohort(path: str | Path) -> list[CohortCase]:
    """Read the cases of a CSV table in UTF-8 with a header; comma, semicolon or tab between the cells.

    Empty lines, a byte order mark and Excel's line ``sep=;`` are passed over; header names may be written in capitals
    or with spaces. Columns: ``case``, ``patient``, ``ct`` and ``mr``, and any other of ``CohortCase``.

    Raises:
        MissingPathError: The file does not exist.
        CohortError: It is no such table, a column is unknown, missing or doubled, a row has too many or too few cells,
            a name is missing or used twice, or a word stands where another is needed. The message names the line.
    """
    path = check_exists(path, "The table of cases")
    rows = _rows(_text(path), path)
    columns = _columns(rows[0][1], path)
    cases = [_case(line, _cells(row, columns, line, path), path) for line, row in rows[1:]]
    if not cases:
        raise CohortError(f"{path} has a header but no case; add a row for each case.")
    _check_names(cases, path)
    _check_sections(cases, path)
    return cases


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CohortError(f"{path} is no text in UTF-8; in Excel save it as 'CSV UTF-8 (comma delimited)'.") from error
    except OSError as error:
        raise CohortError(f"{path} is no file that can be read ({error.strerror}); name a CSV table.") from error


def _rows(text: str, path: Path) -> list[tuple[int, list[str]]]:
    """Line number (of a row's last line) and cells, as they are, of every row that has any text."""
    header = next((line for line in text.splitlines() if line.strip(" \t;,") and not line.startswith("sep=")), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if _says_something(row)]
    except csv.Error as error:
        raise CohortError(f"{path}, line {reader.line_num}: no row of a table ({error}); correct it.") from error
    if not rows:
        raise CohortError(f"{path} is empty; expected a header with {', '.join(_NEEDED)} and a row for each case.")
    return rows


def _says_something(row: Sequence[str]) -> bool:
    return any(cell.strip() for cell in row) and not row[0].strip().startswith("sep=")


def _columns(header: Sequence[str], path: Path) -> list[str]:
    """Names of the columns in their order; those without a name and text at the end are cut off."""
    names = ["_".join(normal_form(name).lower().replace("-", " ").split()) for name in header]
    while names and not names[-1]:
        names.pop()
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            guess = f"did you mean {near[0]}?" if near else f"known are {', '.join(COLUMNS)}."
            raise CohortError(f"{path}: there is no column {name or '(without a name)'}; {guess}")
        if names.count(name) > 1:
            raise CohortError(f"{path}: the column {name} stands there more than once; remove one.")
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise CohortError(f"{path}: the column {missing[0]} is missing, got {', '.join(names)}; add it.")
    return names


def _cells(row: Sequence[str], columns: Sequence[str], line: int, path: Path) -> dict[str, str]:
    if len(row) < len(columns) or any(cell.strip() for cell in row[len(columns) :]):
        raise CohortError(
            f"{path}, line {line}: expected {len(columns)} cells as in the header, got {len(row)}; put text that holds "
            "the separator in double quotes."
        )
    cells = dict(zip(columns, row, strict=False))
    for name, cell in cells.items():
        if name in PATHS:
            check_cell(cell, f"{path}, line {line}")
    return {name: _text_of(cell, name) for name, cell in cells.items()}


def _text_of(cell: str, column: str) -> str:
    """A path as it was typed, the name of a series without blanks around it, any other text in the normal form."""
    if column in PATHS:
        return cell if cell.strip() else ""
    return cell.strip() if column in _SERIES else normal_form(cell)


def _case(line: int, cells: Mapping[str, str], path: Path) -> CohortCase:
    values: dict[str, Any] = dict(cells)
    for name in ("case", "patient"):
        if not values[name]:
            raise CohortError(f"{path}, line {line}: the cell {name} is empty; every row needs one.")
    for name, words in (("model", tuple(Model)), ("section", tuple(Section))):
        values[name] = values.get(name, "").lower()
        if values[name] and values[name] not in words:
            raise CohortError(f"{path}, line {line}: expected a {name} out of {', '.join(words)}, got {cells[name]}.")
    word = values.get("refine", "").lower()
    if word and word not in _WORDS:
        raise CohortError(f"{path}, line {line}: expected yes or no in the column refine, got {cells['refine']}.")
    values["refine"] = _WORDS.get(word)
    return CohortCase(line=line, **values)


def _check_names(cases: Sequence[CohortCase], path: Path) -> None:
    lines: dict[str, int] = {}
    for case in cases:
        if case.case in lines:
            raise CohortError(
                f"{path}, line {case.line}: the case {case.case} stands in line {lines[case.case]} too; rename one."
            )
        lines[case.case] = case.line


def _check_sections(cases: Sequence[CohortCase], path: Path) -> None:
    """All rows have a section or none has, and a patient's rows have one."""
    given = {case.case: case.section for case in cases if case.section}
    if given and len(given) < len(cases):
        line = next(case.line for case in cases if not case.section)
        raise CohortError(f"{path}, line {line}: the cell section is empty, but others are not; fill all or none.")
    first: dict[str, CohortCase] = {}
    for case in cases:
        other = first.setdefault(case.patient, case)
        if other.section != case.section:
            raise CohortError(
                f"{path}, line {case.line}: patient {case.patient} is in the section {case.section}, but in line "
                f"{other.line} in {other.section}; a patient may stand in one section only."
            )
        if case.section == Section.LABELLED and not case.label:
            raise CohortError(
                f"{path}, line {case.line}: case {case.case} is in the section labelled, but has no label; name its "
                "file in the column label, or put the case into unlabelled."
            )
