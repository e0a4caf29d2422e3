"""``spinefuse prepare``: every case of a table, in parallel, as far as it goes, and again only what changed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from spinefuse_ext.cohort.files import write_csv, write_datalist, write_json
from spinefuse_ext.cohort.jobs import make_job, planned_sections
from spinefuse_ext.cohort.limits import PairLimits
from spinefuse_ext.cohort.names import folder_names
from spinefuse_ext.cohort.outcome import Outcome, Verdict
from spinefuse_ext.cohort.page import write_cohort_page
from spinefuse_ext.cohort.pool import cpu_count
from spinefuse_ext.cohort.table import read_cohort
from spinefuse_ext.cohort.work import work_through
from spinefuse_ext.files import check_output_file, check_output_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.registration.models import Model
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM
from spinefuse_ext.validation import CohortError

logger = logging.getLogger(__name__)

PAGE_FILE, JSON_FILE, CSV_FILE, DATALIST_FILE = "cohort.html", "cohort.json", "cohort.csv", "datalist.json"
#: Exit status of the command when a case failed or lies outside the limits.
SOME_LEFT_OUT = 3


@dataclass(frozen=True)
class Prepared:
    """What ``prepare_cohort`` returns.

    ``outcomes`` has every row in the table's order, ``sections`` maps the cases in the datalist to their section,
    ``good`` holds the verdicts that lead there, and ``planned`` the cases that each section was to have.
    """

    out: Path
    outcomes: tuple[Outcome, ...]
    sections: Mapping[str, str]
    good: Collection[Verdict]
    planned: Mapping[str, Sequence[str]]

    @property
    def exit_status(self) -> int:
        """0 when every case may be used or was rejected by hand, else 3."""
        settled = {*self.good, Verdict.REJECTED}
        return 0 if all(one.verdict in settled for one in self.outcomes) else SOME_LEFT_OUT

    @property
    def emptied(self) -> list[str]:
        """Sections that were to have cases and have none, because none of these may be used."""
        filled = set(self.sections.values())
        return [section for section, names in self.planned.items() if names and section not in filled]


def prepare_cohort(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    cohort: str | Path,
    out: str | Path,
    *,
    model: str = "rigid",
    refine: bool = False,
    field_spacing_mm: float = FIELD_SPACING_MM,
    allow_different_patients: bool = False,
    workers: int | None = None,
    labelled: int | None = None,
    validation: int | None = None,
    test: int = 0,
    seed: int = 0,
    max_fre_mm: float = PairLimits.max_fre_mm,
    max_tre_mm: float = PairLimits.max_tre_mm,
    min_covered: float = PairLimits.min_covered,
    max_spacing_mm: float = PairLimits.max_spacing_mm,
    min_edge_overlap: float = PairLimits.min_edge_overlap,
    keep_outside: bool = False,
    labels: Sequence[str] | None = None,
    relabel: Mapping[str | int, str | int] | None = None,
    ignore_index: int | None = None,
) -> Prepared:
    """Register every case of a table and write pairs, datalist, tables of numbers and one page with pictures.

    ``out/cases/<case>`` gets what ``register_case`` writes, the label on the CT grid, a strip of pictures and a record.
    A case that was done before from unchanged inputs with the same settings is kept. A case that fails costs only
    itself: its sentence stands in ``cohort.html``, ``cohort.csv`` and ``cohort.json``. ``datalist.json`` lists the
    pairs that keep the limits, by section; its paths start at ``out``.

    Args:
        cohort: CSV table, see ``read_cohort``; its paths start at its own folder.
        out: folder to write.
        model: registration model of the cases whose row names none.
        refine: refine by intensity after the landmarks, for the cases whose row does not say yes or no.
        field_spacing_mm: of ``register_case``.
        allow_different_patients: go on although the PatientIDs of CT and MR differ.
        workers: cases at a time, each in a process; by default one per processor.
        labelled: patients that keep their label in training, when the table has no column section; default all.
        validation: patients drawn for validation; by default 1, or none when there is one patient only.
        test: patients drawn for the test.
        seed: of the draw. It is made from the whole table, so it does not change with the cases that fail.
        max_fre_mm: largest FRE (root mean square) that passes.
        max_tre_mm: largest leave-one-out TRE (mean) that passes.
        min_covered: smallest share of the CT grid that the MR must cover.
        max_spacing_mm: largest voxel edge of either image.
        min_edge_overlap: smallest overlap of the edges of both images, by chance 0.15.
        keep_outside: list pairs outside the limits too.
        labels: names of the classes that labels have, background first; by default those of the bundle.
        relabel: class, by name or number, of a name or value in label files that is none of these.
        ignore_index: label value of voxels whose truth is unknown.

    Raises:
        MissingPathError: the table does not exist.
        CohortError: the table or an option is wrong, ``out`` is another run's or in use.
        ConfigError: ``relabel`` leads to something that is no class.
        DatalistError: there are too few patients for the sections asked for.
    """
    table, out = Path(cohort), Path(out).absolute()
    cases = read_cohort(table)
    limits = PairLimits(max_fre_mm, max_tre_mm, min_covered, max_spacing_mm, min_edge_overlap)
    workers = cpu_count() if workers is None else workers
    _check_options(model, workers)
    scheme = LabelScheme.of(labels, relabel, ignore_index)
    planned = planned_sections(cases, labelled, validation, test, seed)
    settings = {
        "model": model,
        "refine": refine,
        "field_spacing_mm": field_spacing_mm,
        "allow_different_patients": allow_different_patients,
        "labels": list(scheme.labels.values()),
        "relabel": dict(relabel) if relabel else None,
        "ignore_index": ignore_index,
    }
    folders = folder_names([case.case for case in cases])
    root = table.parent.absolute()
    jobs = [make_job(case, root, out / "cases" / folders[case.case], settings) for case in cases]
    with _own_folder(out):
        outcomes = work_through(cases, jobs, limits, workers)
        good = {Verdict.PASSED, Verdict.OUTSIDE} if keep_outside else {Verdict.PASSED}
        facts = {"table": str(table.absolute()), "settings": settings, "limits": asdict(limits)}
        prepared = _written(out, outcomes, planned, good, facts)
    logger.info("%s", _summary(prepared))
    return prepared


def _check_options(model: str, workers: int) -> None:
    if model not in list(Model):
        raise CohortError(f"Expected a registration model out of {', '.join(Model)}, got {model}; choose one.")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise CohortError(f"Expected a number of workers from 1 up, got {workers}.")


def _written(
    out: Path,
    outcomes: Sequence[Outcome],
    planned: Mapping[str, Sequence[str]],
    good: Collection[Verdict],
    facts: Mapping[str, Any],
) -> Prepared:
    """Write datalist, tables and page; only cases with a ``good`` verdict are listed."""
    by_name = {one.case.case: one for one in outcomes if one.verdict in good}
    listed = {section: [by_name[name] for name in names if name in by_name] for section, names in planned.items()}
    sections = {one.case.case: section for section, members in listed.items() for one in members}
    write_datalist(out / DATALIST_FILE, listed)
    write_json(out / JSON_FILE, outcomes, sections, facts)
    write_csv(out / CSV_FILE, outcomes, sections)
    write_cohort_page(out / PAGE_FILE, outcomes, sections, facts)
    return Prepared(out, tuple(outcomes), sections, good, planned)


@contextmanager
def _own_folder(out: Path) -> Iterator[None]:
    """Keep a second run off the folder, and clear what a killed one left half-made."""
    check_output_folder(out / "cases")
    for name in (DATALIST_FILE, JSON_FILE, CSV_FILE, PAGE_FILE):
        check_output_file(out / name)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CohortError(f"Another run is writing into {out}; wait for it, or name another folder.") from error
    try:
        files = (DATALIST_FILE, JSON_FILE, CSV_FILE, PAGE_FILE)
        for left in [*(out / "cases").glob(".*"), *(path for name in files for path in out.glob(f".{name}.*"))]:
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def _summary(prepared: Prepared) -> str:
    counts = {verdict: sum(one.verdict == verdict for one in prepared.outcomes) for verdict in Verdict}
    listed = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    lines = [f"{len(prepared.outcomes)} cases: {listed}. In the datalist: {len(prepared.sections)}."]
    known = {one.folder.name for one in prepared.outcomes}
    others = sorted(path.name for path in data_paths((prepared.out / "cases").iterdir()) if path.name not in known)
    lines += [f"No case of the section {section} may be used." for section in prepared.emptied]
    if others:
        lines.append(f"Of no case of the table, left as they are: cases/{', cases/'.join(others[:5])}.")
    return "\n".join([*lines, f"Look at {prepared.out / PAGE_FILE}"])
