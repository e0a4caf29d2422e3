"""Whether the headers of a CT and an MR say that both are of one patient and lie in one space."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

from spinefuse_ext.images.stored_image import PLACED
from spinefuse_ext.names import normal_form
from spinefuse_ext.validation import LandmarkError, PatientMismatchError


def same_patient(ct: MetaTensor, mr: MetaTensor, allowed: bool) -> bool | None:
    """Return whether both PatientIDs agree, None where one is not known."""
    ct_id, mr_id = (image.meta.get("patient_id") for image in (ct, mr))
    if not ct_id or not mr_id:
        return None
    same = normal_form(str(ct_id)) == normal_form(str(mr_id))
    if not same and not allowed:
        raise PatientMismatchError(
            f"CT {ct.meta['filename_or_obj']} is of patient {ct_id}, but MR {mr.meta['filename_or_obj']} of patient "
            f"{mr_id}; give images of one patient, or --allow_different_patients if both ids are the same person's."
        )
    return same


def check_shared_frame(ct: MetaTensor, mr: MetaTensor) -> None:
    """Raise ``LandmarkError`` where the headers name two frames of reference, or one says no place at all.

    Two images without a place pass if they have one grid: a pair that some program wrote voxel by voxel.
    """
    _check_placed(ct, mr)
    frames = [image.meta.get("frame_of_reference") for image in (ct, mr)]
    if all(frames) and frames[0] != frames[1]:
        raise LandmarkError(
            f"CT {ct.meta['filename_or_obj']} and MR {mr.meta['filename_or_obj']} have different FrameOfReferenceUIDs: "
            "their headers do not say how they lie to each other; register them first by `spinefuse register`, or give "
            "ct_landmarks and mr_landmarks, or a transform."
        )


def _check_placed(ct: MetaTensor, mr: MetaTensor) -> None:
    lost = [image for image in (ct, mr) if not image.meta.get(PLACED, True)]
    one_grid = ct.shape == mr.shape and torch.allclose(ct.affine.double(), mr.affine.double(), atol=1e-4)
    if lost and not (len(lost) == 2 and one_grid):
        names = " and ".join(str(image.meta["filename_or_obj"]) for image in lost)
        raise LandmarkError(
            f"The header of {names} does not say where the image lies, so CT and MR cannot be laid over each other; "
            "give ct_landmarks and mr_landmarks, a transform, or the image exported with its place."
        )
