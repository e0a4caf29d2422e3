"""Phantom cases as a hospital would hand them over: NIfTI, DICOM and Slicer landmarks, with the truth beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import MetaTensor

from spinefuse_ext.data.phantom.case import Phantom, check_landmarks, check_request, check_style, make_phantom
from spinefuse_ext.data.phantom.points import PointPair
from spinefuse_ext.dicom.write_series import StudyHeader, write_series
from spinefuse_ext.enums import PhantomStyle
from spinefuse_ext.files import atomic_folder, check_output_folder
from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.registration.landmark_files import write_landmarks
from spinefuse_ext.validation import ConfigError
from spinefuse_ext.volumes.volume import write_volume

_TRUTH_SPACING_MM = 4.0


def write_phantoms(  # noqa: PLR0913 (the options of the verb, all keyword-only but one)
    out: str | Path,
    *,
    cases: int = 3,
    seed: int = 0,
    size_mm: Sequence[float] = (128.0, 128.0, 128.0),
    spacing_mm: float = 1.0,
    dicom: bool = True,
    landmarks_per_vertebra: int | None = None,
    motion: float = 1.0,
    style: str = PhantomStyle.STANDARD,
) -> Path:
    """Write the synthetic patients ``seed`` to ``seed + cases - 1`` as ``out/case_SSS``; returns ``out``.

    Each folder appears whole or not at all and replaces one of its name.

    Args:
        out: folder that receives the case folders.
        cases: number of patients.
        seed: number of the first patient; the same seed gives the same case.
        size_mm: field of view: right, anterior, superior.
        spacing_mm: in-plane voxel size of the CT; the MR's is 0.8 of it, in thick slices.
        dicom: add the folders ``ct_dicom`` and ``mr_dicom``.
        landmarks_per_vertebra: 1 to 7 landmarks on every vertebra in the field instead of 8 in all.
        motion: scale of the change of posture between CT and MR; 0 leaves both in one place.
        style: the scanners: ``standard``, ``noisy``, ``dark`` or ``bright``.

    Raises:
        ConfigError: for a number of cases below 1, a negative seed, an unusable size, an unknown style, or ``out``
            being a file.
    """
    out = Path(out)
    if cases < 1 or seed < 0:
        raise ConfigError(f"Expected at least 1 case and a seed of 0 or more, got {cases} cases and seed {seed}.")
    check_output_folder(out)
    check_request(size_mm, spacing_mm)
    check_landmarks(landmarks_per_vertebra)
    check_style(style)
    choices: dict[str, Any] = {"landmarks_per_vertebra": landmarks_per_vertebra, "motion": motion, "style": style}
    for number in progress_bar(range(seed, seed + cases), title="Phantoms", unit="case"):
        phantom = make_phantom(number, size_mm=size_mm, spacing_mm=spacing_mm, **choices)
        write_phantom(phantom, out / f"case_{number:03d}", dicom=dicom)
    return out


def write_phantom(phantom: Phantom, folder: str | Path, *, dicom: bool = True) -> Path:
    """Write one case; returns its folder.

    ``truth.json`` holds points and matrices in RAS mm. ``truth_displacement.nii.gz`` is a vector image on a 4 mm grid
    over the CT: at a CT point, the way to the same tissue in the MR, its components along **R, A, S** in mm (negate the
    first two for ITK, which works in LPS).
    """
    with atomic_folder(folder) as temporary:
        for name in ("ct", "mr", "mr_aligned", "label", "vertebrae"):
            image: MetaTensor = getattr(phantom, name)
            write_volume(image, temporary / f"{name}.nii.gz", dtype=image.numpy().dtype)
        for suffix in (".mrk.json", ".fcsv"):
            write_landmarks(phantom.ct_landmarks, temporary / f"ct_landmarks{suffix}")
            write_landmarks(phantom.mr_landmarks, temporary / f"mr_landmarks{suffix}")
        (temporary / "truth.json").write_text(json.dumps(_truth(phantom), indent=1) + "\n", encoding="utf-8")
        _save_displacement(phantom, temporary / "truth_displacement.nii.gz")
        if dicom:
            _save_dicom(phantom, temporary)
    return Path(folder)


def _truth(phantom: Phantom) -> dict[str, Any]:
    """What ``truth.json`` says; all points and matrices in RAS mm."""
    spine = phantom.spine
    return {
        "patient": patient_id(phantom),
        "seed": phantom.seed,
        "space": "RAS, mm",
        "vertebra_matrices_ct_to_mr": {name: matrix.tolist() for name, matrix in phantom.vertebra_matrices.items()},
        "offset_mm": (phantom.ct_to_mr(np.zeros((1, 3)))[0]).tolist(),
        "disc_degeneration": {
            f"{upper.name}/{lower.name}": round(disc.degeneration, 3)
            for lower, upper, disc in zip(spine.vertebrae[:-1], spine.vertebrae[1:], spine.discs, strict=True)
        },
        "landmarks_without_click_error": _points(phantom.meant),
        "targets": _points(phantom.targets),
    }


def _points(pair: PointPair) -> dict[str, Any]:
    return {"names": list(pair.ct.names), "ct_mm": pair.ct.points_mm.tolist(), "mr_mm": pair.mr.points_mm.tolist()}


def _save_displacement(phantom: Phantom, path: Path) -> None:
    """The true displacement on a coarse grid that starts at the CT's first voxel and reaches past its last."""
    spacing = np.linalg.norm(np.asarray(phantom.ct.affine)[:3, :3], axis=0)
    extent = (np.asarray(phantom.ct.shape[1:]) - 1) * spacing
    count = np.ceil(extent / _TRUTH_SPACING_MM).astype(int) + 1
    affine = np.asarray(phantom.ct.affine) @ np.diag([*(_TRUTH_SPACING_MM / spacing), 1.0])
    index = np.indices(tuple(count)).reshape(3, -1)
    points = (affine[:3, :3] @ index).T + affine[:3, 3]
    vectors = (phantom.ct_to_mr(points) - points).astype(np.float32).reshape(*count, 1, 3)
    image = nib.Nifti1Image(vectors, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_intent("vector", name="ct_to_mr_ras_mm")
    nib.save(image, path)


def patient_id(phantom: Phantom) -> str:
    """``PHANTOM-0003`` for seed 3."""
    return f"PHANTOM-{phantom.seed:04d}"


def _save_dicom(phantom: Phantom, folder: Path) -> None:
    """One study with two series, each with a frame of reference of its own: nobody registered them."""
    study = StudyHeader(
        patient_id=patient_id(phantom),
        patient_name=f"Phantom^Spine {phantom.seed}",
        study_id=str(phantom.seed),
        study_description="Synthetic lumbar spine",
    )
    write_series(
        phantom.ct, folder / "ct_dicom", modality="CT", study=study, series_number=1, series_description="CT lumbar"
    )
    write_series(
        phantom.mr,
        folder / "mr_dicom",
        modality="MR",
        study=study,
        series_number=2,
        series_description="MR T2 sagittal",
    )
