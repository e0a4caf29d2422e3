"""One patient's CT and MR brought onto the CT grid: the work behind ``spinefuse register``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from spinefuse_ext.files import atomic_folder, check_apart, check_output_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.registration.case_inputs import Start, read_start
from spinefuse_ext.registration.centring import initial_centring
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.mutual_information import Limits
from spinefuse_ext.registration.pair import fit_pair
from spinefuse_ext.registration.pose import DIRECTION
from spinefuse_ext.registration.program_place import place_for
from spinefuse_ext.registration.refinement import Refinement
from spinefuse_ext.registration.resampling import resample
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM, write_transform
from spinefuse_ext.validation import SpinefuseError
from spinefuse_ext.volumes.volume import read_volume, write_volume

logger = logging.getLogger(__name__)

CT_FILE = "ct.nii.gz"
MR_FILE = "mr.nii.gz"
TRANSFORM_FILE = "transform.tfm"
FIELD_FILE = "transform.h5"
REPORT_FILE = "registration.json"
#: Numbers of the levels of either scan, on its own grid, where bones carried the registration.
CT_LEVELS_FILE, MR_LEVELS_FILE = "ct_levels.nii.gz", "mr_levels.nii.gz"
FILES = (CT_FILE, MR_FILE, TRANSFORM_FILE, FIELD_FILE, REPORT_FILE, CT_LEVELS_FILE, MR_LEVELS_FILE)


def register_case(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    ct: str | Path,
    mr: str | Path,
    out: str | Path,
    *,
    ct_landmarks: str | Path | None = None,
    mr_landmarks: str | Path | None = None,
    model: str = "rigid",
    vertebrae: str | Path | None = None,
    field_spacing_mm: float = FIELD_SPACING_MM,
    allow_different_patients: bool = False,
    transform: str | Path | None = None,
    ct_series: str | int | None = None,
    mr_series: str | int | None = None,
    refine: bool = False,
    refine_mm: float = Limits().shift_mm,
    refine_deg: float = Limits().turn_deg,
    seed: int = 0,
) -> RegistrationFit:
    """Register MR to CT by landmarks or a transform file and write the folder ``out``, whole or not at all.

    ``out`` gets ``ct.nii.gz``, ``mr.nii.gz`` (the MR on the CT grid), ``registration.json`` (every number) and a
    transform that opens in 3D Slicer: ``transform.tfm`` of a linear model, else the displacement field
    ``transform.h5``. The errors per point and what looks wrong with the landmarks and images are logged.

    Args:
        ct: CT as image file or DICOM folder.
        mr: MR as image file or DICOM folder.
        out: Folder to write; files of an earlier registration in it are replaced.
        ct_landmarks: Points on the CT, ``.mrk.json``, ``.fcsv`` or ``.csv``; without them, ``mr_landmarks`` and
            ``transform`` the image headers are trusted to share one patient space.
        mr_landmarks: Points of the same names on the MR.
        model: "rigid", "similarity", "affine", "thin_plate" or "per_vertebra".
        vertebrae: Label volume of the CT with a number per vertebra; tells "per_vertebra" which landmark lies on which
            bone and where bone ends. Without it the landmark names tell the level.
        field_spacing_mm: Distance of the vectors of ``transform.h5``.
        allow_different_patients: Go on although the PatientIDs differ. Images without an id always pass.
        transform: Transform file of ITK, 3D Slicer or ANTs in place of landmarks; it maps CT to MR points (LPS), the
            direction in which the MR is resampled.
        ct_series: SeriesInstanceUID, number or description of the CT series, where the folder holds several; with
            ``/stack2`` behind it, the second of several stacks in that series.
        mr_series: The same of the MR series.
        refine: Improve the result by mutual information of the images, if held-out landmarks or edges confirm it.
        refine_mm: Farthest shift of a refinement.
        refine_deg: Largest turn of a refinement.
        seed: Seed of the points at which a refinement compares the images.

    Raises:
        SpinefuseError: A path is missing or unreadable, patients differ, landmarks do not fit, the MR lies outside the
            CT, or ``out`` holds other files.
    """
    given = {"ct": ct, "mr": mr, "ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks, "transform": transform}
    check_case_folder(out, [*given.values(), vertebrae], field_spacing_mm)
    start = read_start((ct_landmarks, mr_landmarks), transform, model, vertebrae)
    ct_image, mr_image = read_volume(ct, "CT", ct_series), read_volume(mr, "MR", mr_series)
    moved = place_for((ct_image, mr_image), (ct_landmarks, mr_landmarks), transform)
    limits = Limits(refine_mm, refine_deg) if refine else None
    found = [*start.warnings(ct_image, model), *moved]
    return write_case(
        (ct_image, mr_image),
        out,
        start,
        told={**given, "vertebrae": vertebrae},
        found=found,
        limits=limits,
        allow_different_patients=allow_different_patients,
        field_spacing_mm=field_spacing_mm,
        seed=seed,
    )


@dataclass(frozen=True)
class CaseExtras:
    """What a registration that was made elsewhere adds to a case.

    Parts of the report, label volumes by the names of their files, and a summary in place of the fit's own.
    """

    report: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, MetaTensor] = field(default_factory=dict)
    summary: str | None = None


def check_case_folder(out: str | Path, inputs: Iterable[str | Path | None], field_spacing_mm: float) -> None:
    """Raise an error where a case cannot be written to ``out``, before the work is done."""
    _check_target(Path(out))
    check_apart(out, list(inputs))
    if not field_spacing_mm > 0:
        raise SpinefuseError(f"Expected a field spacing above 0 mm, got {field_spacing_mm}; 2 to 4 are usual.")


def write_case(  # noqa: PLR0913 (what register_case and the verb know of a case, all keyword-only but three)
    images: tuple[MetaTensor, MetaTensor],
    out: str | Path,
    start: Start,
    *,
    told: Mapping[str, str | Path | None],
    found: Sequence[str] = (),
    limits: Limits | None = None,
    allow_different_patients: bool = False,
    field_spacing_mm: float = FIELD_SPACING_MM,
    seed: int = 0,
    extras: CaseExtras | None = None,
) -> RegistrationFit:
    """Bring the MR of ``images`` (CT, MR) onto the CT as ``start`` says, and write the case, whole or not at all.

    ``told`` are the paths that the report names, ``found`` sentences about the inputs.
    """
    ct_image, mr_image = images
    extras = CaseExtras() if extras is None else extras
    pair = fit_pair(
        ct_image, mr_image, start, allow_different_patients=allow_different_patients, limits=limits, seed=seed
    )
    fit = pair.fit
    report = {
        **{name: None if path is None else str(path) for name, path in told.items()},
        "ct_series": ct_image.meta.get("series_uid"),
        "mr_series": mr_image.meta.get("series_uid"),
        "patient_id": ct_image.meta.get("patient_id"),
        "same_patient": pair.one_patient,
        "direction": DIRECTION,
        "pose": pair.pose.to_dict(),
        "field_spacing_mm": None if fit.is_linear else field_spacing_mm,
        "initial_centring": initial_centring(ct_image, mr_image, start.points),
        "ct_grid_covered_by_mr": pair.covered,
        "mr_spacing_mm": affine_to_spacing(mr_image.affine).tolist(),
        **_outcome(fit, start, pair.refinement, [*found, *ct_image.meta["warnings"], *mr_image.meta["warnings"]]),
        **extras.report,
    }
    registered = resample(mr_image, fit, ct_image, spacing_mm=field_spacing_mm)
    _write(Path(out), (ct_image, registered), fit, report, extras.labels)
    names = [image.meta.get("filename_or_obj") for image in (mr_image, ct_image)]
    logger.info("Registered %s to %s\n%s\nWritten to %s", *names, extras.summary or fit.summary(), out)
    return fit


def _outcome(fit: RegistrationFit, start: Start, refinement: Refinement | None, found: list[str]) -> dict[str, Any]:
    method = "landmarks" if fit.names else "no landmarks: headers trusted"
    if start.transform is not None:
        method = "transform file"
    method = start.method or method
    figures = fit.to_dict()
    return {
        "method": method,
        **figures,
        "refinement": None if refinement is None else refinement.to_dict(),
        "warnings": [*figures["warnings"], *found],
    }


def _check_target(out: Path) -> None:
    check_output_folder(out)
    foreign = sorted(path.name for path in data_paths(out.iterdir()) if path.name not in FILES) if out.exists() else []
    if foreign:
        raise SpinefuseError(
            f"The output folder {out} holds other files ({', '.join(foreign[:3])}); name a new folder."
        )


def _write(
    out: Path,
    images: tuple[MetaTensor, MetaTensor],
    fit: RegistrationFit,
    report: dict[str, Any],
    labels: Mapping[str, MetaTensor],
) -> None:
    ct, mr = images
    with atomic_folder(out) as folder:
        write_volume(ct, folder / CT_FILE)
        write_volume(mr, folder / MR_FILE)
        for file, label in labels.items():
            write_volume(label, folder / file, dtype=np.uint16)
        name = TRANSFORM_FILE if fit.is_linear else FIELD_FILE
        write_transform(fit, folder / name, grid=ct, spacing_mm=report["field_spacing_mm"] or FIELD_SPACING_MM)
        (folder / REPORT_FILE).write_text(json.dumps(report, indent=4, allow_nan=False) + "\n", encoding="utf-8")
