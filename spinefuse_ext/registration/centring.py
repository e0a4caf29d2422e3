"""Both volumes centred in world coordinates: where the paper's registration begins, and what it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import Landmarks


def initial_centring(ct: MetaTensor, mr: MetaTensor, points: tuple[Landmarks, Landmarks] | None) -> dict[str, Any]:
    """Return the shift (RAS mm) that lays the middle of the CT ``(1, X, Y, Z)`` on the middle of the MR.

    With ``points`` also their mean distance by the headers and after that shift, in mm: a registration should end far
    below both. The landmark fits are in closed form or start from a rigid one that is, so the shift changes no result.
    """
    shift = _middle(mr) - _middle(ct)
    if points is None:
        return {"shift_ras_mm": shift.tolist()}
    ct_points, mr_points = points
    way = mr_points.points_mm[[mr_points.names.index(name) for name in ct_points.names]] - ct_points.points_mm
    return {
        "shift_ras_mm": shift.tolist(),
        "landmark_distance_before_mm": float(np.linalg.norm(way, axis=1).mean()),
        "landmark_distance_centred_mm": float(np.linalg.norm(way - shift, axis=1).mean()),
    }


def _middle(image: MetaTensor) -> NDArray[np.float64]:
    affine = image.affine.numpy()
    return np.asarray(affine[:3, :3] @ ((np.array(image.shape[1:]) - 1) / 2) + affine[:3, 3], dtype=np.float64)
