"""Whether an image is as large in mm as a spine and a body are; a wrong voxel size shows here and nowhere else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_JUDGED = 32  # voxels along two axes, below which an image is a piece that says nothing of a body
_PIXEL_MM = (0.1, 4.0)  # the two finer voxel edges; clinical CT and MR of the spine have 0.2 to 1.5
_SLICE_MM = 12.0
_VIEW_MM = (60.0, 2200.0)  # the longest side; a vertebra in focus, a patient from head to foot
_BODY_MM = (60.0, 700.0)  # across an axial slice of CT; an infant's neck, the bore of a scanner
_BODY_HU = -300.0


def odd_size(voxels: NDArray[np.float32], affine: NDArray[np.float64], modality: str) -> list[str]:
    """Return in one sentence what size of voxel, view or body of a CT or MR ``(X, Y, Z)`` no patient has, if any."""
    if sorted(voxels.shape)[1] < _JUDGED:
        return []
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    reasons = _odd_grid(edges, float((edges * voxels.shape).max()))
    width = _body_width(voxels, affine) if modality == "CT" else None
    if width is not None and not _BODY_MM[0] <= width <= _BODY_MM[1]:
        reasons.append(f"a body {width:.3g} mm across")
    if not reasons:
        return []
    named = " x ".join(f"{edge:.3g}" for edge in edges)
    return [f"{' and '.join(reasons)}: no spine is so, and the voxels are probably not {named} mm; check PixelSpacing"]


def _odd_grid(edges: NDArray[np.float64], view: float) -> list[str]:
    reasons = []
    finer = np.sort(edges)
    if not _PIXEL_MM[0] <= finer[0] <= finer[1] <= _PIXEL_MM[1]:
        reasons.append(f"pixels of {finer[0]:.3g} x {finer[1]:.3g} mm")
    if finer[2] > _SLICE_MM:
        reasons.append(f"slices {finer[2]:.3g} mm apart")
    if not _VIEW_MM[0] <= view <= _VIEW_MM[1]:
        reasons.append(f"a field of view of {view:.3g} mm")
    return reasons


def _body_width(voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> float | None:
    """Width in mm from left to right of what is denser than air, median of the axial slices; None where it is cut."""
    left_right, head_foot = (int(np.abs(affine[row, :3]).argmax()) for row in (0, 2))
    if left_right == head_foot:
        return None
    front_back = 3 - left_right - head_foot
    dense = np.transpose(voxels > _BODY_HU, (head_foot, front_back, left_right)).any(axis=1)
    if (dense[:, 0] | dense[:, -1]).mean() > 0.5:
        return None
    counts = dense.sum(axis=1)
    if not (counts > 0).any():
        return None
    return float(np.median(counts[counts > 0]) * np.linalg.norm(affine[:3, left_right]))
