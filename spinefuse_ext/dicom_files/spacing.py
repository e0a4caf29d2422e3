"""Whether the slices of a stack are evenly spaced, how far apart, and where one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.placed import Placed, by_place, heights
from spinefuse_ext.validation import ImageReadError

_UNEVEN = 0.05  # of the slice spacing
_ROUNDING_MM = 0.175  # what two positions rounded to 0.1 mm in each direction differ by at most
_MOST = 0.25  # of the slice spacing: a missing slice is four times as much
_SHIFT_PIXELS, _SHIFT_MM = 0.5, 0.2  # aside: what is farther off is shifted
_HOLE = 1.5  # of the usual gap: what is wider is a hole


def tolerance_mm(spacing: float) -> float:
    """Return by how much a gap between slices may differ from the spacing: 5 %, or rounding, but never 25 %."""
    return min(max(_UNEVEN * spacing, _ROUNDING_MM), _MOST * spacing)


def is_even(images: Sequence[Placed]) -> bool:
    """Say whether images in spatial order form one complete stack."""
    try:
        slice_step(images, "")
    except ImageReadError:
        return False
    return True


def slice_step(images: Sequence[Placed], what: str) -> NDArray[np.float64]:
    """Return the vector ``(3,)`` in LPS mm from one slice to the next of two or more images in spatial order.

    Raises:
        ImageReadError: Several images are at one place, a slice is missing, or they are uneven or shifted.
    """
    crowd = next((place for place in by_place(images) if len(place) > 1), None)
    if crowd is not None:
        names = " and ".join(dict.fromkeys(image.slice.path.name for image in crowd[:2]))
        raise ImageReadError(
            f"{what}: several images at one position that differ ({names}, for example); keep one image per slice."
        )
    corners = np.array([image.corner for image in images])
    gaps = np.diff(heights(images))
    spacing = float(np.median(gaps)) if len(gaps) else 1.0
    step = (corners[-1] - corners[0]) / max(len(corners) - 1, 1)
    if (
        _wide(gaps, spacing).any()
        or abs(gaps - spacing).max(initial=0) > tolerance_mm(spacing)
        or _shifted(images, corners, step, spacing)
    ):
        raise ImageReadError(
            f"{what} should be {spacing:.3f} mm apart, but gaps reach from {gaps.min():.3f} to "
            f"{gaps.max():.3f} mm; {_irregular(gaps, spacing, images)}, export the series again."
        )
    return _straightened(step, images)


def _straightened(step: NDArray[np.float64], images: Sequence[Placed]) -> NDArray[np.float64]:
    """Take from a step what it leads aside where that is rounding over the whole stack, rather than a tilted gantry."""
    normal = images[0].normal / np.linalg.norm(images[0].normal)
    along = (step @ normal) * normal
    aside = np.linalg.norm(step - along) * (len(images) - 1)
    return np.asarray(along if aside <= min(_ROUNDING_MM, _SHIFT_PIXELS * images[0].pixel_mm) else step)


def runs(images: Sequence[Placed]) -> list[list[Placed]]:
    """Return images in spatial order in the parts between holes; a single part where there is none."""
    gaps = np.diff(heights(images))
    cuts: list[int] = (np.flatnonzero(_wide(gaps, float(np.median(gaps)))) + 1).tolist() if len(gaps) else []
    return [list(images[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(images)], strict=True)]


def _wide(gaps: NDArray[np.float64], spacing: float) -> NDArray[np.bool_]:
    return np.asarray(gaps > _HOLE * spacing)


def _shifted(images: Sequence[Placed], corners: NDArray[np.float64], step: NDArray[np.float64], spacing: float) -> bool:
    """Whether a slice lies beside the line of the others, or has drifted from its even place along it."""
    off = corners - corners[0] - np.outer(np.arange(len(corners)), step)
    normal = images[0].normal
    within = off - np.outer(off @ normal, normal)
    aside = np.linalg.norm(within, axis=1).max(initial=0)
    return bool(
        aside > max(_SHIFT_PIXELS * images[0].pixel_mm, _SHIFT_MM) or abs(off @ normal).max(initial=0) > spacing / 2
    )


def _irregular(gaps: NDArray[np.float64], spacing: float, images: Sequence[Placed]) -> str:
    """Say between which files slices are missing, or that the spacing is uneven."""
    absent = np.rint(gaps / spacing).astype(int) - 1
    if abs(gaps - spacing * (absent + 1)).max() > tolerance_mm(spacing) * absent.max(initial=1) or not absent.any():
        return "the slices are unevenly spaced or shifted"
    holes = [
        f"{before.slice.path.name} and {after.slice.path.name}"
        for (before, after), number in zip(pairwise(images), absent, strict=True)
        if number
    ]
    count = int(absent.sum())
    verb = "slice is" if count == 1 else "slices are"
    return f"{count} {verb} missing between {', '.join(holes[:3])}"
