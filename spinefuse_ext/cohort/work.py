"""The cases of a table, worked through: what is done stays, what changed is done again, what fails is told."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from tqdm.contrib.logging import logging_redirect_tqdm

from spinefuse_ext.cohort.case import prepare_case
from spinefuse_ext.cohort.limits import PairLimits
from spinefuse_ext.cohort.outcome import Outcome, judge
from spinefuse_ext.cohort.pool import run_all
from spinefuse_ext.cohort.record import Job, drop, finished
from spinefuse_ext.cohort.table import CohortCase
from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.validation import CohortError, SpinefuseError

logger = logging.getLogger(__name__)


def work_through(cases: Sequence[CohortCase], jobs: Sequence[Job], limits: PairLimits, workers: int) -> list[Outcome]:
    """Do the jobs that are not done, and return the outcome of every row in the order of the table.

    Nothing is done for a row that a person rejected; the pair of an earlier run stays for its pictures.
    """
    found: dict[str, Outcome] = {}
    rows = {case.case: case for case in cases}
    todo = []
    for job in jobs:
        record = finished(job, job.key())
        if record is not None or rows[job.name].reject:
            found[job.name] = judge(rows[job.name], job.folder, limits, record=record)
        else:
            todo.append(job)
    if found:
        logger.info("%d of %d cases are done already or rejected.", len(found), len(cases))
    with logging_redirect_tqdm(), progress_bar(total=len(todo), title="Cases", unit="case") as bar:
        for job, result in run_all(prepare_case, todo, workers):
            found[job.name] = _outcome(rows[job.name], job, result, limits)
            bar.update()
    return _note_shared_ids([found[case.case] for case in cases])


def _outcome(case: CohortCase, job: Job, result: BaseException | None, limits: PairLimits) -> Outcome:
    if result is None:
        record = finished(job, job.key())
        if record is not None:
            return judge(case, job.folder, limits, record=record, done_now=True)
        result = CohortError(f"The files of case {case.case} changed while it was prepared; run again.")
    drop(job.folder)
    error, trace = str(result), ""
    if not isinstance(result, SpinefuseError):
        error = f"{type(result).__name__}: {result}; this is not foreseen, cohort.json has the traceback."
        trace = "".join(traceback.format_exception(result))
    error = " ".join(error.replace(f"{job.root}/", "").split())  # the table's own words for its files
    logger.warning("case %s: %s", case.case, error)
    return judge(case, job.folder, limits, error=error, trace=trace)


def _note_shared_ids(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Warn of a PatientID in the images that stands under two patients of the table: sections would not be apart."""
    patients: dict[str, set[str]] = {}
    for one in outcomes:
        if one.record and one.record["patient_id"]:
            patients.setdefault(one.record["patient_id"], set()).add(one.case.patient)
    noted = []
    for one in outcomes:
        number = one.record["patient_id"] if one.record else None
        if one.record and number and len(patients[number]) > 1:
            names = ", ".join(sorted(patients[number]))
            sentence = f"the images' PatientID {number} stands under the patients {names} of the table; correct one"
            record = {**one.record, "warnings": [*one.record["warnings"], sentence]}
            noted.append(Outcome(**{**vars(one), "record": record}))
        else:
            noted.append(one)
    return noted
