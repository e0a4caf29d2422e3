"""From the rows of a table to the work on each, and to the section that each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinefuse_ext.cohort.paths import find_cell
from spinefuse_ext.cohort.record import Job
from spinefuse_ext.cohort.table import PATHS, CohortCase
from spinefuse_ext.data.sections import draw_sections
from spinefuse_ext.enums import Section
from spinefuse_ext.registration.models import Model


def planned_sections(
    cases: Sequence[CohortCase], labelled: int | None, validation: int | None, test: int, seed: int
) -> dict[str, list[str]]:
    """Case names by section: as the table says, or drawn from all of its rows that nobody rejected."""
    if cases[0].section:
        return {str(section): [case.case for case in cases if case.section == section] for section in Section}
    patients = {case.case: case.patient for case in cases if not case.reject}
    if not patients:
        return {str(section): [] for section in Section}
    with_label = {case.case for case in cases if case.label}
    held = (1 if len(set(patients.values())) > 1 + test else 0) if validation is None else validation
    return draw_sections(patients, with_label, validation=held, test=test, labelled=labelled, seed=seed)


def make_job(case: CohortCase, root: Path, folder: Path, settings: Mapping[str, Any]) -> Job:
    """Return the work on one row of a table in ``root``: what the row says comes before the settings of the run."""
    options = dict(settings)
    options["model"] = case.model or options["model"]
    options["refine"] = options["refine"] if case.refine is None else case.refine
    for name in ("ct_series", "mr_series"):
        if getattr(case, name):
            options[name] = getattr(case, name)
    spelled = {role: find_cell(getattr(case, role), root) for role in PATHS if getattr(case, role)}
    if options["model"] != Model.PER_VERTEBRA:
        spelled.pop("vertebrae", None)  # it serves that model only
    return Job(case.case, root, folder, spelled, options)
