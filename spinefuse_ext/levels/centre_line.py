"""The line through the vertebral bodies and discs, and where any point lies along it and beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from spinefuse_ext.levels.grid import Structures
from spinefuse_ext.validation import LevelsError

Points = NDArray[np.float64]

_SLAB_MM, _SMOOTH_MM = 3.0, 9.0
_STEP_MM = 1.0
_REFINED = 2
#: Slabs at the ends that meet only a corner of a tilted body draw the line aside: thin ones are left out, up to so many
_CORNER, _MOST_CORNERS = 0.5, 6
#: Power of a voxel's depth inside bone and disc by which it counts: bodies are thick, arches and processes are not.
_THICK = 4
_DEEPEST_MM = 12.0
#: A disc voxel counts as one so deep: discs are low, but lie on the line.
_DISC_MM = 6.0
#: The line goes on straight past its last points by this much, for what lies at the edge of the field.
_BEYOND_MM = 30.0
_LEAST_MM = 15.0
_NEAR_MM = 30.0  # of the line: what counts when it is centred again
_BEHIND_MM = 24.0  # the canal lies about this far behind the centre of a lumbar body, where no canal was found


@dataclass(frozen=True)
class CentreLine:
    """M points (RAS mm) 1 mm apart from the head down, with unit vectors down the spine and to the front, ``(M, 3)``.

    ``canal_mm`` ``(M,)`` is how far ahead (below 0: behind) of each point the middle of the canal lies.
    """

    points_mm: Points
    down: Points
    front: Points
    canal_mm: Points

    def along(self, points_mm: Points) -> Points:
        """RAS mm ``(N, 3)`` -> ``(N, 3)``: mm down along the line, mm to the front of it, mm to the patient's right."""
        if not len(points_mm):
            return np.zeros((0, 3))
        nearest = cKDTree(self.points_mm).query(points_mm)[1]
        away = points_mm - self.points_mm[nearest]
        right = np.cross(self.down, self.front)
        rest = np.einsum("nk,nk->n", away, self.down[nearest])
        columns = (
            nearest * _STEP_MM + rest,
            np.einsum("nk,nk->n", away, self.front[nearest]),
            np.einsum("nk,nk->n", away, right[nearest]),
        )
        return np.stack(columns, axis=1)

    def at(self, along_mm: float) -> Points:
        """The point ``(3,)`` of the line so many mm from its upper end."""
        place = np.clip(along_mm / _STEP_MM, 0, len(self.points_mm) - 1)
        return np.array([np.interp(place, np.arange(len(self.points_mm)), axis) for axis in self.points_mm.T])

    def canal_at(self, along_mm: Points) -> Points:
        """How far ahead of the line the middle of the canal lies, mm, below 0."""
        places = np.arange(len(self.canal_mm)) * _STEP_MM
        return np.asarray(np.interp(along_mm, places, self.canal_mm))


def centre_line(found: Structures) -> CentreLine:
    """Find the line through bodies and discs; the canal, where it was found, keeps arches and processes out of it.

    Raises:
        LevelsError: There is too little bone and disc for a line.
    """
    column = found.vertebra | found.disc | found.sacrum
    spacing = found.spacing_mm
    closed = _closed(column, spacing)
    depth = np.minimum(ndimage.distance_transform_edt(closed, sampling=spacing), _DEEPEST_MM)
    depth[found.disc] = np.maximum(depth[found.disc], _DISC_MM)
    places = np.argwhere(closed)
    points, weights = found.to_mm(places), depth[closed] ** _THICK
    canal = _line_of_heights(found.points_mm(found.canal), np.ones(int(found.canal.sum())))
    if canal is not None:
        weights = weights * (points[:, 1] > np.interp(-points[:, 2], -canal[:, 2], canal[:, 1]) + 2.0)
    first = _line_of_heights(points, weights)
    if first is None:
        raise LevelsError(
            f"{found.name} shows too little of vertebrae and discs for a line through them; name a label volume of a "
            "spine, and say by relabel what its numbers mean."
        )
    line = _resampled(first)
    for _ in range(_REFINED):
        line = _centred(line, points, weights)
    return _with_frames(line, found)


def _closed(column: NDArray[np.bool_], spacing: Points) -> NDArray[np.bool_]:
    """Bone and disc with the narrow gaps between them filled."""
    away = ndimage.distance_transform_edt(~column, sampling=spacing)
    grown = away <= 3.0
    return np.asarray(ndimage.distance_transform_edt(grown, sampling=spacing) > 3.0) | column


def _line_of_heights(points: Points, weights: Points) -> Points | None:
    """Weighted means ``(H, 3)`` of slabs of the points across the body's axis, from the head down; None for too few."""
    if not len(points) or not weights.any():
        return None
    slabs = np.floor((points[:, 2].max() - points[:, 2]) / _SLAB_MM).astype(int)
    means, total = _means(slabs, points, weights)
    known = total > 0.005 * np.median(total[total > 0])
    if known.sum() * _SLAB_MM < _LEAST_MM:
        return None
    known = _without_corners(known, total)
    return _smoothed(means, total, known, _SMOOTH_MM / _SLAB_MM)


def _without_corners(known: NDArray[np.bool_], total: Points) -> NDArray[np.bool_]:
    """Known slabs without the thin ones at both ends; a short spine keeps all."""
    places, usual = np.flatnonzero(known), float(np.median(total[known]))
    if len(places) < 4 * _MOST_CORNERS:
        return known
    kept = known.copy()
    for ends in (places[:_MOST_CORNERS], places[::-1][:_MOST_CORNERS]):
        for place in ends:
            if total[place] >= _CORNER * usual:
                break
            kept[place] = False
    return kept


def _means(bins: NDArray[np.int64], points: Points, weights: Points) -> tuple[Points, Points]:
    """Weighted mean ``(B, 3)`` and total weight ``(B,)`` of the points of each bin."""
    total = np.asarray(np.bincount(bins, weights), dtype=np.float64)
    sums = np.stack([np.bincount(bins, weights * axis) for axis in points.T], axis=1)
    return sums / np.maximum(total, 1e-9)[:, None], total


def _smoothed(means: Points, total: Points, known: NDArray[np.bool_], sigma: float) -> Points:
    """A smooth line through the means: a local straight-line fit with Gaussian weights, which does not shrink ends."""
    places = np.arange(len(means), dtype=float)
    inside = np.arange(np.flatnonzero(known)[0], np.flatnonzero(known)[-1] + 1)
    trust = np.where(known, np.minimum(total / np.median(total[known]), 1.0), 0.0)
    line = []
    for place in inside:
        shares = trust * np.exp(-0.5 * ((places - place) / sigma) ** 2)
        away = places - place
        spread = (shares * away * away).sum() - (shares * away).sum() ** 2 / shares.sum()
        mean = (shares[:, None] * means).sum(0) / shares.sum()
        slope = ((shares * away)[:, None] * (means - mean)).sum(0) / max(spread, 1e-6)
        line.append(mean - slope * (shares * away).sum() / shares.sum())
    return np.array(line)


def _resampled(line: Points) -> Points:
    """The line with points 1 mm apart, and straight ends added."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    lengths = np.concatenate([[0.0], np.cumsum(steps)])
    marks = np.arange(0.0, lengths[-1] + 1e-6, _STEP_MM)
    inner = np.stack([np.interp(marks, lengths, axis) for axis in line.T], axis=1)
    reach = min(15, len(inner) - 1)
    away = np.arange(_STEP_MM, _BEYOND_MM + 1e-6, _STEP_MM)[:, None]
    ends = [_unit(inner[0] - inner[reach]), _unit(inner[-1] - inner[-1 - reach])]
    return np.concatenate([(inner[0] + away * ends[0])[::-1], inner, inner[-1] + away * ends[1]])


def _centred(line: Points, points: Points, weights: Points) -> Points:
    """The line moved to the weighted mean of the points nearest to each of its parts."""
    far, nearest = cKDTree(line).query(points)
    near = (far < _NEAR_MM) & (weights > 0)
    means, total = _means(nearest[near] // int(_SLAB_MM), points[near], weights[near])
    known = total > 0.01 * np.median(total[total > 0])
    return _resampled(_smoothed(means, total, _without_corners(known, total), _SMOOTH_MM / _SLAB_MM))


def _with_frames(line: Points, found: Structures) -> CentreLine:
    down = np.gradient(ndimage.gaussian_filter1d(line, 4.0, axis=0, mode="nearest"), axis=0)
    down = down / np.linalg.norm(down, axis=1, keepdims=True)
    straight = np.array([0.0, 1.0, 0.0])
    front = straight - (down @ straight)[:, None] * down
    plain = CentreLine(line, down, front / np.linalg.norm(front, axis=1, keepdims=True), np.zeros(len(line)))
    canal = found.points_mm(found.canal)
    places = np.arange(len(line)) * _STEP_MM
    where = plain.along(canal)
    near = (np.abs(where[:, 2]) < 20) & (where[:, 1] < 0) & (where[:, 1] > -60)
    bins = np.clip(where[near, 0], 0, len(line) - 1).astype(int)
    total = np.bincount(bins, minlength=len(line))
    ahead = np.bincount(bins, where[near, 1], minlength=len(line)) / np.maximum(total, 1)
    if (total > 0).sum() < _LEAST_MM:
        return CentreLine(plain.points_mm, plain.down, plain.front, np.full(len(line), -_BEHIND_MM))
    filled = np.interp(places, places[total > 0], ahead[total > 0])
    smooth = ndimage.gaussian_filter1d(filled, 6.0, mode="nearest")
    return CentreLine(plain.points_mm, plain.down, plain.front, smooth)


def _unit(vector: Points) -> Points:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
