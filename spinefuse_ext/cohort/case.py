"""One case of a cohort, start to end: registered, labelled, measured, pictured, and written whole."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from spinefuse_ext.cohort.label import read_label
from spinefuse_ext.cohort.measures import carried_back, pair_edges
from spinefuse_ext.cohort.plausibility import implausible_size
from spinefuse_ext.cohort.record import LABEL_FILE, STRIP_FILE, Job, check_replaceable, write_record
from spinefuse_ext.files import atomic_folder, check_apart
from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.registration.case import CT_FILE, MR_FILE, REPORT_FILE, register_case
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.landmark_files import read_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.name_matching import match_landmarks
from spinefuse_ext.report.cohort_strip import cohort_strip, save_jpeg
from spinefuse_ext.report.registration_figures import CT_WINDOW_HU
from spinefuse_ext.validation import CohortError
from spinefuse_ext.volumes.volume import read_volume, write_volume

#: Inputs that are the case's own; the others are handed to ``register_case``.
_OWN = ("ct", "mr", "label")
#: Options of the label, which ``register_case`` does not have.
_OF_LABEL = ("labels", "relabel", "ignore_index")


def prepare_case(job: Job) -> None:
    """Write ``job.folder`` whole or not at all: what ``register_case`` writes, label, picture and record.

    Raises:
        SpinefuseError: The inputs do not make a pair, or the folder holds files that are not ours.
    """
    for role in ("ct", "mr"):
        if role not in job.inputs:
            raise CohortError(f"The cell {role} of case {job.name} is empty; name the image or its DICOM folder.")
    check_apart(job.folder, job.inputs.values())
    check_replaceable(job.folder)
    key, started = job.key(), time.perf_counter()
    with atomic_folder(job.folder) as folder:
        given: dict[str, Any] = {role: path for role, path in job.inputs.items() if role not in _OWN}
        options = {name: value for name, value in job.options.items() if name not in _OF_LABEL}
        fit = register_case(job.inputs["ct"], job.inputs["mr"], folder, **given, **options)
        ct, mr = read_volume(folder / CT_FILE), read_volume(folder / MR_FILE)
        notes = _write_label(job, ct, folder) if "label" in job.inputs else []
        points = _points(job, fit)
        window_hu = CT_WINDOW_HU if float(ct.min()) < 0 else None  # without air it is no CT in HU
        save_jpeg(cohort_strip(ct, mr, *points, window_hu=window_hu), folder / STRIP_FILE)
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        found = {
            "measured": {**_measured(report, ct), "edge_overlap": pair_edges(ct, mr, points[0])},
            "warnings": [sentence.replace(f"{job.root}/", "") for sentence in (*report["warnings"], *notes)],
            "refinement": report["refinement"],
            "patient_id": report["patient_id"],
            "seconds": round(time.perf_counter() - started, 2),
        }
        write_record(folder, key, found)


def _write_label(job: Job, ct: MetaTensor, folder: Path) -> list[str]:
    scheme = LabelScheme.of(**{name: job.options.get(name) for name in _OF_LABEL})
    label, found = read_label(job.inputs["label"], ct, scheme)
    write_volume(label, folder / LABEL_FILE)
    return [*found, *implausible_size(label)]


def _measured(report: dict[str, Any], ct: MetaTensor) -> dict[str, Any]:
    """The numbers that the page sorts and judges by; None where a case has none."""
    errors = [point["tre_mm"] for point in report["points"].values() if point["tre_mm"] is not None]
    return {
        "model": report["model"],
        "landmarks": len(report["points"]),
        "fre_rms_mm": report["fre_rms_mm"],
        "tre_mean_mm": report["tre_mean_mm"],
        "tre_largest_mm": max(errors, default=None),
        "worst": report["worst"],
        "covered": report["ct_grid_covered_by_mr"],
        "ct_spacing_mm": affine_to_spacing(ct.affine).tolist(),
        "mr_spacing_mm": report["mr_spacing_mm"],
    }


def _points(job: Job, fit: RegistrationFit) -> tuple[Landmarks | None, Landmarks | None]:
    """Landmarks of the CT, and those of the MR carried over to the CT by the fit; None where a case has none."""
    files = [job.inputs.get(f"{name}_landmarks") for name in ("ct", "mr")]
    if files[0] is None or files[1] is None:
        return None, None
    ct, mr = match_landmarks(read_landmarks(files[0]), read_landmarks(files[1]))[:2]
    return ct, Landmarks(mr.names, carried_back(fit.mapping, fit.matrix, mr.points_mm))
