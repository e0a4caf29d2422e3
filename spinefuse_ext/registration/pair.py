"""The map from a CT to its MR when both are read: checked, fitted, refined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor

from spinefuse_ext.registration.case_inputs import Start
from spinefuse_ext.registration.fit import LandmarkFit
from spinefuse_ext.registration.mutual_information import Limits
from spinefuse_ext.registration.refinement import Refinement, refine
from spinefuse_ext.registration.shared_space import same_patient
from spinefuse_ext.validation import LandmarkError

_PROBES = 24  # points per axis at which the overlap of the two images is measured


@dataclass(frozen=True)
class PairFit:
    """A map from CT to MR, whether both are one patient's (None: not known), and the part of the CT grid it covers."""

    fit: LandmarkFit
    refinement: Refinement | None
    one_patient: bool | None
    covered: float


def fit_pair(
    ct: MetaTensor,
    mr: MetaTensor,
    start: Start,
    *,
    allow_different_patients: bool = False,
    limits: Limits | None = None,
    seed: int = 0,
) -> PairFit:
    """Return the map of a CT and an MR ``(1, X, Y, Z)`` as ``start`` says, refined within ``limits`` when given.

    Raises:
        PatientMismatchError: The PatientIDs differ.
        LandmarkError: Nothing says how the images lie to each other, or the MR lies outside the CT.
        SpinefuseError: The images share too little tissue to refine on.
    """
    one_patient = same_patient(ct, mr, allow_different_patients)
    fit, refinement = start.fit(ct, mr), None
    covered = covered_part(mr, fit, ct)
    if not covered:
        names = ct.meta["filename_or_obj"], mr.meta["filename_or_obj"]
        raise LandmarkError(
            f"The registered MR {names[1]} lies wholly outside CT {names[0]}; check which landmark file belongs to "
            "which image."
            if start.transform is None
            else f"{start.transform.path} brings the MR {names[1]} wholly outside CT {names[0]}; it must map CT to MR "
            "points, so invert it."
        )
    if limits is not None:
        fit, refinement = refine(fit, ct, mr, limits, seed=seed)
        covered = covered_part(mr, fit, ct)
    return PairFit(fit, refinement, one_patient, covered)


def covered_part(mr: MetaTensor, fit: LandmarkFit, ct: MetaTensor) -> float:
    """Return the part (0 to 1) of the CT grid that lies inside the MR after registration, measured at 24^3 points."""
    axes = [np.linspace(0, size - 1, _PROBES) for size in ct.shape[1:]]
    points = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones((_PROBES,) * 3)]).reshape(4, -1)
    moved = fit.mapping((ct.affine.numpy() @ points)[:3].T)
    to_voxel = np.linalg.inv(mr.affine.numpy())
    voxels = moved @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    return float(((voxels >= -0.5) & (voxels <= np.array(mr.shape[1:]) - 0.5)).all(1).mean())
