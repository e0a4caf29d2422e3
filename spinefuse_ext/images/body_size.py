"""Whether an image is as large in mm as a spine and a body are; a wrong voxel size shows here and nowhere else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_JUDGED = 32  # voxels along two axes, below which an image is a piece that says nothing of a body
_PIXEL_MM = (0.1, 4.0)  # in the slice; clinical CT and MR of the spine have 0.2 to 1.5
_SLICE_MM = 12.0
_VIEW_MM = (60.0, 2200.0)  # the longest side; a vertebra in focus, a patient from head to foot
_BODY_MM = (60.0, 700.0)  # across an axial slice of CT; an infant's neck, the bore of a scanner
_BODY_HU = -300.0
_USUAL_PIXEL_MM, _USUAL_VIEW_MM = (0.2, 1.6), (100.0, 600.0)
_SLIPS = (1000.0, 10.0, 0.1, 0.001)  # between m, cm, mm and micron


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
    return [f"{' and '.join(reasons)}: no spine is so; {_likely(edges, voxels.shape)}; check PixelSpacing"]


def _likely(edges: NDArray[np.float64], shape: tuple[int, ...]) -> str:
    """Which pixels a slip of the unit was made from, where one gives a usual image; else which they are not."""
    plane = _in_plane(edges)
    pixels, view = edges[plane], float((edges[plane] * np.array(shape)[plane]).max())
    usual = [
        f"{pixels[0] * factor:.3g} x {pixels[1] * factor:.3g} mm"
        for factor in _SLIPS
        if _USUAL_PIXEL_MM[0] <= pixels.min() * factor <= pixels.max() * factor <= _USUAL_PIXEL_MM[1]
        and _USUAL_VIEW_MM[0] <= view * factor <= _USUAL_VIEW_MM[1]
    ]
    if usual:
        return f"the pixels are probably {' or '.join(usual)}"
    return f"the voxels are probably not {' x '.join(f'{edge:.3g}' for edge in edges)} mm"


def _in_plane(edges: NDArray[np.float64]) -> list[int]:
    """The two axes whose voxel edges are most alike: those of the slices, which have square pixels."""
    first, second, third = (int(axis) for axis in np.argsort(edges, kind="stable"))
    alike = edges[second] / edges[first] <= edges[third] / edges[second]
    return sorted((first, second) if alike else (second, third))


def _odd_grid(edges: NDArray[np.float64], view: float) -> list[str]:
    reasons = []
    pixels = edges[_in_plane(edges)]
    (between,) = np.delete(edges, _in_plane(edges))
    if not _PIXEL_MM[0] <= pixels.min() <= pixels.max() <= _PIXEL_MM[1]:
        reasons.append(f"pixels of {pixels[0]:.3g} x {pixels[1]:.3g} mm")
    if between > _SLICE_MM:
        reasons.append(f"slices {between:.3g} mm apart")
    if not _VIEW_MM[0] <= view <= _VIEW_MM[1]:
        reasons.append(f"a field of view of {view:.3g} mm")
    return reasons


def _body_width(voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> float | None:
    """Width in mm from left to right of what is denser than air, median of the axial slices; None where it is cut."""
    left_right, head_foot = (int(np.abs(affine[row, :3]).argmax()) for row in (0, 2))
    if left_right == head_foot:
        return None
    front_back = 3 - left_right - head_foot
    dense = np.any(np.transpose(voxels > _BODY_HU, (head_foot, front_back, left_right)), axis=1)
    if (dense[:, 0] | dense[:, -1]).mean() > 0.5:
        return None
    counts = dense.sum(axis=1)
    if not (counts > 0).any():
        return None
    return float(np.median(counts[counts > 0]) * np.linalg.norm(affine[:3, left_right]))
