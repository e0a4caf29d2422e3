"""The map from a CT to its MR when both are read: checked, fitted, refined."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from monai.data import MetaTensor

from spinefuse_ext.registration.case_inputs import Start
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.image_box import part_inside
from spinefuse_ext.registration.mutual_information import Limits
from spinefuse_ext.registration.pose import Pose, examine
from spinefuse_ext.registration.refinement import Refinement, refine
from spinefuse_ext.registration.shared_space import same_patient
from spinefuse_ext.validation import LandmarkError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairFit:
    """A map from CT to MR, whether both are one patient's (None: not known), and the part of the CT grid it covers.

    ``pose`` is how the map lay before it was refined.
    """

    fit: RegistrationFit
    refinement: Refinement | None
    one_patient: bool | None
    covered: float
    pose: Pose


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

    What is doubtful about the pose stands in the ``doubts`` of the fit.

    Raises:
        PatientMismatchError: The PatientIDs differ.
        LandmarkError: Nothing says how the images lie to each other, or the MR lies outside the CT.
        SpinefuseError: The images share too little tissue to refine on.
    """
    one_patient = same_patient(ct, mr, allow_different_patients)
    fit, refinement = start.fit(ct, mr), None
    pose = examine(ct, mr, start, fit)
    if not pose.ct_inside_mr:
        raise LandmarkError(_apart(ct, mr, start, pose))
    if start.transform is not None:
        logger.info("%s", pose.direction())
    fit, covered = replace(fit, doubts=(*fit.doubts, *pose.doubts)), pose.ct_inside_mr
    if limits is not None:
        fit, refinement = refine(fit, ct, mr, limits, seed=seed)
        covered = part_inside(ct, mr, fit.mapping)
    return PairFit(fit, refinement, one_patient, covered, pose)


def _apart(ct: MetaTensor, mr: MetaTensor, start: Start, pose: Pose) -> str:
    """Say that a map brings the images apart, and under which other reading it would not."""
    names = ct.meta["filename_or_obj"], mr.meta["filename_or_obj"]
    meeting = [other.condition for other in pose.better or pose.others if part_inside(ct, mr, other.mapping)]
    hint = f"; they overlap if {', or if '.join(dict.fromkeys(meeting[:2]))}" if meeting else ""
    if start.transform is not None:
        return (
            f"{start.transform.path} brings the MR {names[1]} wholly outside CT {names[0]}; it must map CT to MR "
            f"points, so invert it or check that it belongs to these images{hint}."
        )
    return (
        f"The registered MR {names[1]} lies wholly outside CT {names[0]}; check which landmark file belongs to which "
        f"image, and in which coordinate system and unit they are{hint}."
    )
