"""The tables of a prepared cohort for other programs: datalist, ``cohort.json`` and ``cohort.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinefuse_ext.cohort.outcome import Outcome
from spinefuse_ext.data.cohort import case_files
from spinefuse_ext.data.datalist import check_patients_apart
from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.files import atomic_write

_NUMBERS = ("model", "landmarks", "fre_rms_mm", "tre_mean_mm", "tre_largest_mm", "worst", "covered", "edge_overlap")


def write_datalist(path: Path, listed: Mapping[str, Sequence[Outcome]]) -> None:
    """Write the cases of each section, paths relative to the datalist's folder; label only where a section has one."""
    content = {section: [_item(one, section, path.parent) for one in cases] for section, cases in listed.items()}
    check_patients_apart(content, path)
    _write_json(path, content)


def _item(outcome: Outcome, section: str, root: Path) -> dict[str, str]:
    files = {str(CaseKeys.PATIENT): outcome.case.patient, **case_files(outcome.folder, root)}
    if section == Section.UNLABELLED:
        files.pop(CaseKeys.LABEL, None)
    return files


def write_json(path: Path, outcomes: Sequence[Outcome], sections: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Write everything that is known: the settings, and per case every number, warning, error and fingerprint."""
    cases = [
        {
            "case": one.case.case,
            "patient": one.case.patient,
            "line": one.case.line,
            "verdict": str(one.verdict),
            "section": sections.get(one.case.case),
            "folder": one.folder.relative_to(path.parent).as_posix() if one.usable else None,
            "error": one.error or None,
            "traceback": one.trace or None,
            "reject": one.case.reject or None,
            "outside_limits": list(one.misses),
            "record": one.record,
        }
        for one in outcomes
    ]
    _write_json(path, {**facts, "cases": cases})


def write_csv(path: Path, outcomes: Sequence[Outcome], sections: Mapping[str, str]) -> None:
    """Write one row a case, as a spreadsheet or statistics program reads it; what was not measured is empty."""
    axes = [f"{image}_spacing_mm_{axis}" for image in ("ct", "mr") for axis in (1, 2, 3)]
    header = ["case", "patient", "verdict", "section", *_NUMBERS, *axes, "outside_limits", "warnings", "error"]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for one in outcomes:
            spacings = [one.measured(f"{image}_spacing_mm") or [None] * 3 for image in ("ct", "mr")]
            numbers = [one.measured(name) for name in _NUMBERS]
            notes = ["; ".join(one.misses), "; ".join(one.warnings), one.error or one.case.reject]
            names = [one.case.case, one.case.patient, str(one.verdict), sections.get(one.case.case, "")]
            rows.writerow([*names, *numbers, *spacings[0], *spacings[1], *notes])


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
