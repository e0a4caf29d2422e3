"""One patient's CT and MR brought onto the CT grid: the work behind ``spinefuse register``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from spinefuse_ext.dicom.volume import read_volume, write_volume
from spinefuse_ext.files import whole_folder
from spinefuse_ext.registration.centring import initial_centring
from spinefuse_ext.registration.fit import LandmarkFit, fit_landmarks, trust_headers
from spinefuse_ext.registration.landmark_files import read_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.models import Model
from spinefuse_ext.registration.resampling import resample
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM, write_transform
from spinefuse_ext.registration.vertebrae import vertebrae_from_labels
from spinefuse_ext.validation import LandmarkError, PatientMismatchError, SpinefuseError

logger = logging.getLogger(__name__)

PointFiles = tuple[Landmarks, Landmarks]  # CT, MR

CT_FILE = "ct.nii.gz"
MR_FILE = "mr.nii.gz"
TRANSFORM_FILE = "transform.tfm"
FIELD_FILE = "transform.h5"
REPORT_FILE = "registration.json"
_FILES = {CT_FILE, MR_FILE, TRANSFORM_FILE, FIELD_FILE, REPORT_FILE}
_PROBES = 24  # points per axis at which the overlap of the two images is measured


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
) -> LandmarkFit:
    """Register MR to CT by landmarks and write the folder ``out``, whole or not at all.

    ``out`` gets ``ct.nii.gz``, ``mr.nii.gz`` (the MR on the CT grid), ``registration.json`` (every number) and a
    transform that opens in 3D Slicer: ``transform.tfm`` of a linear model, else the displacement field
    ``transform.h5``. The errors per point and what looks wrong with the landmarks are logged.

    Args:
        ct: CT as image file or DICOM folder.
        mr: MR as image file or DICOM folder.
        out: Folder to write; files of an earlier registration in it are replaced.
        ct_landmarks: Points on the CT, ``.mrk.json`` or ``.fcsv``; without them and ``mr_landmarks`` the image headers
            are trusted to share one patient space.
        mr_landmarks: Points of the same names on the MR.
        model: "rigid", "similarity", "affine", "thin_plate" or "per_vertebra".
        vertebrae: Label volume of the CT with a number per vertebra; tells "per_vertebra" which landmark lies on which
            bone and where bone ends. Without it the landmark names tell the level.
        field_spacing_mm: Distance of the vectors of ``transform.h5``.
        allow_different_patients: Go on although the PatientIDs differ. Images without an id always pass.

    Raises:
        SpinefuseError: A path is missing or unreadable, patients differ, landmarks do not fit, the MR lies outside the
            CT, or ``out`` holds other files.
    """
    _check_target(Path(out))
    if not field_spacing_mm > 0:
        raise SpinefuseError(f"Expected a field spacing above 0 mm, got {field_spacing_mm}; 2 to 4 are usual.")
    points = _read_points(ct_landmarks, mr_landmarks)
    fit = None if points is None else _fit_points(points, (ct_landmarks, mr_landmarks), model, vertebrae)
    ct_image, mr_image = read_volume(ct, "CT"), read_volume(mr, "MR")
    same_patient = _same_patient(ct_image, mr_image, allow_different_patients)
    if fit is None:
        _check_shared_frame(ct_image, mr_image)
        fit = trust_headers()
    covered = _covered_part(mr_image, fit, ct_image)
    if not covered:
        raise LandmarkError(
            f"The registered MR {mr} lies wholly outside CT {ct}; check which landmark file belongs to which image."
        )
    report = {
        "ct": str(ct),
        "mr": str(mr),
        "ct_landmarks": None if ct_landmarks is None else str(ct_landmarks),
        "mr_landmarks": None if mr_landmarks is None else str(mr_landmarks),
        "vertebrae": None if vertebrae is None else str(vertebrae),
        "patient_id": ct_image.meta.get("patient_id"),
        "same_patient": same_patient,
        "field_spacing_mm": None if fit.is_linear else field_spacing_mm,
        "initial_centring": initial_centring(ct_image, mr_image, points),
        "ct_grid_covered_by_mr": covered,
        "mr_spacing_mm": affine_to_spacing(mr_image.affine).tolist(),
        **_outcome(fit),
    }
    registered = resample(mr_image, fit, ct_image, spacing_mm=field_spacing_mm)
    _write(Path(out), ct_image, registered, fit, report)
    logger.info("Registered %s to %s\n%s\nWritten to %s", mr, ct, fit.summary(), out)
    return fit


def _outcome(fit: LandmarkFit) -> dict[str, Any]:
    return {"method": "landmarks" if fit.names else "no landmarks: headers trusted", **fit.to_dict()}


def _check_target(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SpinefuseError(f"The output folder {out} is a file; name a folder.")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in _FILES) if out.exists() else []
    if foreign:
        raise SpinefuseError(
            f"The output folder {out} holds other files ({', '.join(foreign[:3])}); name a new folder."
        )


def _read_points(ct_path: str | Path | None, mr_path: str | Path | None) -> PointFiles | None:
    """Read both landmark files; None when none is given."""
    if ct_path is None and mr_path is None:
        return None
    if ct_path is None or mr_path is None:
        absent = "ct_landmarks" if ct_path is None else "mr_landmarks"
        raise LandmarkError(f"Landmarks are needed on both images, but {absent} is missing; give both files, or none.")
    return read_landmarks(ct_path), read_landmarks(mr_path)


def _fit_points(
    points: PointFiles, paths: tuple[str | Path | None, str | Path | None], model: str, vertebrae: str | Path | None
) -> LandmarkFit:
    """Fit both lists; an error names their files."""
    if vertebrae is not None and model != Model.PER_VERTEBRA:
        raise LandmarkError(f"A vertebra label volume serves the model per_vertebra only, got {vertebrae} for {model}.")
    try:
        bones = None
        if vertebrae is not None:
            bones = vertebrae_from_labels(points[0], read_volume(vertebrae), Path(vertebrae))
        return fit_landmarks(*points, model, vertebrae=bones)
    except LandmarkError as error:
        raise LandmarkError(f"{paths[0]} and {paths[1]}: {error}") from error


def _same_patient(ct: MetaTensor, mr: MetaTensor, allowed: bool) -> bool | None:
    """Return whether both PatientIDs agree, None where one is not known."""
    ct_id, mr_id = (image.meta.get("patient_id") for image in (ct, mr))
    if not ct_id or not mr_id:
        return None
    if ct_id != mr_id and not allowed:
        raise PatientMismatchError(
            f"CT {ct.meta['filename_or_obj']} is of patient {ct_id}, but MR {mr.meta['filename_or_obj']} of patient "
            f"{mr_id}; give images of one patient, or --allow_different_patients if both ids are the same person's."
        )
    return bool(ct_id == mr_id)


def _check_shared_frame(ct: MetaTensor, mr: MetaTensor) -> None:
    frames = [image.meta.get("frame_of_reference") for image in (ct, mr)]
    if all(frames) and frames[0] != frames[1]:
        raise LandmarkError(
            f"CT {ct.meta['filename_or_obj']} and MR {mr.meta['filename_or_obj']} have different FrameOfReferenceUIDs: "
            "their headers do not say how they lie to each other; give ct_landmarks and mr_landmarks."
        )


def _covered_part(mr: MetaTensor, fit: LandmarkFit, ct: MetaTensor) -> float:
    """Return the part (0 to 1) of the CT grid that lies inside the MR after registration, measured at 24^3 points."""
    axes = [np.linspace(0, size - 1, _PROBES) for size in ct.shape[1:]]
    points = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones((_PROBES,) * 3)]).reshape(4, -1)
    moved = fit.mapping((ct.affine.numpy() @ points)[:3].T)
    to_voxel = np.linalg.inv(mr.affine.numpy())
    voxels = moved @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    return float(((voxels >= -0.5) & (voxels <= np.array(mr.shape[1:]) - 0.5)).all(1).mean())


def _write(out: Path, ct: MetaTensor, mr: MetaTensor, fit: LandmarkFit, report: dict[str, Any]) -> None:
    with whole_folder(out) as folder:
        write_volume(ct, folder / CT_FILE)
        write_volume(mr, folder / MR_FILE)
        name = TRANSFORM_FILE if fit.is_linear else FIELD_FILE
        write_transform(fit, folder / name, grid=ct, spacing_mm=report["field_spacing_mm"] or FIELD_SPACING_MM)
        (folder / REPORT_FILE).write_text(json.dumps(report, indent=4, allow_nan=False) + "\n", encoding="utf-8")
