"""What is odd about two matched point lists: places used twice, a mirror image, another unit, a thin line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from spinefuse_ext.names import listed
from spinefuse_ext.registration.linear import fit_rigid

Points = NDArray[np.float64]

_SAME_MM = 0.05
#: A mirror image or another scale must at least halve the rigid error, and lower it by this much.
_PART, _LOWER_MM = 0.5, 3.0
_SCALES = (0.8, 1.25)
#: Click error in either image over the spread about a line: the turn about it is known no better.
_CLICK_MM, _OPEN_DEG = 1.0, 5.0
#: Landmarks that reach no further than this are no millimetres: a vertebra is larger.
_LEAST_MM = 5.0
_UNITS = ((10.0, "centimetres"), (1000.0, "metres"))


def list_doubts(names: Sequence[str], fixed: Points, moving: Points) -> tuple[str, ...]:
    """Return a sentence for each oddity of the ``(N, 3)`` points (CT and MR, RAS mm, one order)."""
    doubts = [
        _same_places(names, fixed, "CT"),
        _same_places(names, moving, "MR"),
        _equal_lists(fixed, moving),
        _mirrored(fixed, moving),
        _unit(fixed, moving),
        _thin(fixed),
    ]
    return tuple(doubt for doubt in doubts if doubt)


def _same_places(names: Sequence[str], points: Points, role: str) -> str | None:
    """Name the pairs of points at one place; a list in another unit, all of which lies together, is no such case."""
    if np.ptp(points, axis=0).max() < _LEAST_MM:
        return None
    close = squareform(pdist(points)) < _SAME_MM
    pairs = [f"{names[one]} and {names[other]}" for one, other in np.argwhere(np.triu(close, 1))]
    if not pairs:
        return None
    return f"Landmarks of the {role} list lie at one place ({listed(pairs, 4)}); set one of each pair again."


def _equal_lists(fixed: Points, moving: Points) -> str | None:
    if np.abs(fixed - moving).max() > 1e-6:
        return None
    return (
        "The CT list and the MR list hold the same coordinates, which no two clicks have; check that one list was not "
        "saved for both."
    )


def _mirrored(fixed: Points, moving: Points) -> str | None:
    mirror = np.array([-1.0, 1.0, 1.0])
    before, after = _rms(fixed, moving), _rms(fixed * mirror, moving)
    if after > _PART * before or before - after < _LOWER_MM:
        return None
    return (
        f"The MR list looks like a mirror image of the CT list: mirroring it lowers the rigid error from {before:.1f} "
        f"to {after:.1f} mm; check the signs of its coordinates, and left and right in the names."
    )


def _unit(fixed: Points, moving: Points) -> str | None:
    for role, points in (("CT", fixed), ("MR", moving)):
        reach = float(np.ptp(points, axis=0).max())
        if reach < _LEAST_MM:
            return (
                f"All landmarks of the {role} list lie within {reach:.2g} mm; if its unit is not the millimetre, "
                "convert it and register again."
            )
    centred = (fixed - fixed.mean(0), moving - moving.mean(0))
    scale = float(np.linalg.norm(centred[1]) / np.linalg.norm(centred[0]))
    before, after = _rms(fixed, moving), _rms(fixed * scale, moving)
    if _SCALES[0] < scale < _SCALES[1] or after > _PART * before or before - after < _LOWER_MM:
        return None
    known = [name for factor, name in _UNITS if abs(np.log(max(scale, 1 / scale) / factor)) < np.log(1.1)]
    smaller = "MR" if scale < 1 else "CT"
    hint = f", so the {smaller} list may be in {known[0]}" if known else ""
    return (
        f"Distances between landmarks are {scale:.3g} times as long in the MR list as in the CT list{hint}; convert "
        "both to millimetres of patient space and register again."
    )


def _thin(fixed: Points) -> str | None:
    if np.ptp(fixed, axis=0).max() < _LEAST_MM:
        return None
    spread = np.linalg.svd(fixed - fixed.mean(0), compute_uv=False)
    open_deg = float(np.rad2deg(np.sqrt(2) * _CLICK_MM / max(spread[1], 1e-6)))
    if open_deg < _OPEN_DEG:
        return None
    return (
        f"The landmarks lie nearly on one line, so a click error of 1 mm turns the MR about it by {open_deg:.0f} "
        "degrees; add a point beside that line, for example on a spinous or transverse process."
    )


def _rms(fixed: Points, moving: Points) -> float:
    return float(np.sqrt(((fit_rigid(fixed, moving)(fixed) - moving) ** 2).sum(1).mean()))
