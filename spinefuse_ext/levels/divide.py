"""Which level each voxel of bone and disc belongs to: bodies grow from the centre line, arches from their laminae."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from spinefuse_ext.levels.centre_line import CentreLine
from spinefuse_ext.levels.grid import Mask, Structures
from spinefuse_ext.levels.tube import TUBE_MM, Column

Numbers = NDArray[np.int32]

_TOUCHING = np.ones((3, 3, 3), bool)
_FRAGMENT_ML = 0.03  # smaller pieces are no part of a level
_REACH_MM = 20.0  # a piece farther than this from bone of a level is an island
_PROCESS = 0.25  # of a level: how far below the middle of its body an arch and its process lie
#: A lamina: so far behind the middle of the canal, so near to the midline (mm), and so many levels below its body.
_LAMINA_BEHIND_MM, _LAMINA_ASIDE_MM, _LAMINA_BELOW = (8.0, 16.0), 8.0, (0.1, 0.45)
_OFF_LINE_MM = 32.0  # a disc reaches no farther from the centre line


@dataclass(frozen=True)
class Divided:
    """Number of its body (from 1, head down) for every voxel of bone, and of its disc; 0 is none.

    ``dropped`` counts pieces that belong to no level and ``dropped_ml`` their volume.
    """

    bones: Numbers
    discs: Numbers
    dropped: int
    dropped_ml: float


def divide(found: Structures, line: CentreLine, column: Column) -> Divided:
    """Give bone and disc voxels to the bodies and discs of a column."""
    bones = _grown(found, line, column)
    fragments = _fragments(found, line, column, bones)
    bones[bones < 0] = 0
    discs, lost = _discs(found, line, column)
    count, voxels = fragments[0] + lost[0], fragments[1] + lost[1]
    return Divided(bones, discs, count, voxels * found.voxel_ml)


def _grown(found: Structures, line: CentreLine, column: Column) -> Numbers:
    """Bodies grown from the tube, and arches from their laminae, through all bone that hangs together.

    Thick parts come first, so bones that touch part where they are thinnest. A vertebra above the first body, of which
    only the arch is seen, grows too and is given up afterwards.
    """
    bone = found.vertebra
    places = np.argwhere(bone)
    where = line.along(found.to_mm(places))
    near = np.hypot(where[:, 1], where[:, 2]) <= TUBE_MM
    seeds = np.zeros(bone.shape, np.int32)
    for number, span in enumerate(column.bodies, 1):
        core = near & (where[:, 0] >= span.start) & (where[:, 0] < span.stop)
        seeds[tuple(places[core].T)] = number
    beyond = len(column.bodies) + 1
    if found.canal.any():
        lamina = _lamina_of(where, line, column)
        seeds[tuple(places[lamina >= 0].T)] = np.where(lamina == 0, beyond, lamina)[lamina >= 0]
    depth = ndimage.distance_transform_edt(bone, sampling=found.spacing_mm)
    flooded = watershed(-depth, seeds, connectivity=_TOUCHING, mask=bone)  # type: ignore[no-untyped-call]
    grown = np.asarray(flooded, dtype=np.int32)
    grown[grown == beyond] = -1
    return grown


def _lamina_of(where: NDArray[np.float64], line: CentreLine, column: Column) -> NDArray[np.int64]:
    """The body in whose lamina each point ``(N, 3)`` of the line's coordinates lies, 0: above the first one; or -1."""
    middles = np.array([span.middle for span in column.bodies])
    above = middles[0] - (middles[1] - middles[0] if len(middles) > 1 else column.pitch_mm)
    known = np.concatenate([[above], middles, [middles[-1] + column.pitch_mm]])
    level = np.interp(where[:, 0], known, np.arange(len(known)))
    below = level - np.floor(level)
    behind = line.canal_at(where[:, 0]) - where[:, 1]
    inside = (
        (np.abs(where[:, 2]) < _LAMINA_ASIDE_MM)
        & (behind > _LAMINA_BEHIND_MM[0])
        & (behind < _LAMINA_BEHIND_MM[1])
        & (below > _LAMINA_BELOW[0])
        & (below < _LAMINA_BELOW[1])
        & (level < len(middles) + 1)
    )
    return np.where(inside, np.floor(level), -1).astype(np.int64)


def _fragments(found: Structures, line: CentreLine, column: Column, bones: Numbers) -> tuple[int, int]:
    """Give pieces of bone that no body grew into to a level, in place; return how many are none's, and their voxels."""
    pieces, count = ndimage.label(found.vertebra & (bones == 0), _TOUCHING)
    trees = _trees(found, bones, len(column.bodies))
    lost = lost_voxels = 0
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    boxes = ndimage.find_objects(pieces)
    for piece in np.argsort(-sizes[1:]) + 1:
        box = boxes[piece - 1]
        inside = pieces[box] == piece
        places = np.argwhere(inside) + [part.start for part in box]
        number = 0
        if sizes[piece] * found.voxel_ml >= _FRAGMENT_ML:
            number = _owner(found.to_mm(places), line, column, trees)
        if number:
            bones[box][inside] = number
        else:
            lost, lost_voxels = lost + 1, lost_voxels + int(sizes[piece])
    return lost, lost_voxels


def _trees(found: Structures, bones: Numbers, count: int) -> list[cKDTree | None]:
    points = [found.points_mm(bones == number) for number in range(1, count + 1)]
    return [cKDTree(each) if len(each) else None for each in points]


def _owner(points: NDArray[np.float64], line: CentreLine, column: Column, trees: list[cKDTree | None]) -> int:
    """The level that a loose piece belongs to, 0 for none: near its bone, and where its process is expected."""
    where = line.along(points).mean(0)
    behind = where[1] < line.canal_at(where[:1])[0]
    costs = []
    for tree, span in zip(trees, column.bodies, strict=True):
        near = float(tree.query(points)[0].min()) if tree is not None else np.inf
        expected = span.middle + (_PROCESS * column.pitch_mm if behind else 0.0)
        off = abs(float(where[0]) - expected)
        costs.append(np.inf if near > _REACH_MM else 0.3 * near + off)
    best = int(np.argmin(costs))
    return best + 1 if costs[best] < column.pitch_mm else 0


def _discs(found: Structures, line: CentreLine, column: Column) -> tuple[Numbers, tuple[int, int]]:
    """Every disc voxel with the number of its disc, and how many pieces belong to none, and their voxels."""
    disc = found.disc
    numbers = np.zeros(disc.shape, np.int32)
    if not column.discs:
        return numbers, (0, 0)
    places = np.argwhere(disc)
    where = line.along(found.to_mm(places))
    middles = np.array([span.middle for span in column.discs])
    nearest = np.abs(where[:, :1] - middles).argmin(axis=1)
    fits = (np.abs(where[:, 0] - middles[nearest]) < 0.5 * column.pitch_mm) & (
        np.hypot(where[:, 1], where[:, 2]) < _OFF_LINE_MM
    )
    numbers[tuple(places[fits].T)] = nearest[fits] + 1
    return numbers, _drop_pieces(numbers, disc, found)


def _drop_pieces(numbers: Numbers, disc: Mask, found: Structures) -> tuple[int, int]:
    """Clear, in place, pieces of a disc that are small and apart from it; return how many were lost, and voxels."""
    for number in range(1, int(numbers.max()) + 1):
        pieces, count = ndimage.label(numbers == number, _TOUCHING)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        if count > 1:
            small = np.flatnonzero((sizes < 0.1 * sizes.max()) | (sizes * found.voxel_ml < _FRAGMENT_ML)) + 1
            numbers[np.isin(pieces, small[sizes[small - 1] < sizes.max()])] = 0
    lost = disc & (numbers == 0)
    return int(ndimage.label(lost, _TOUCHING)[1]), int(lost.sum())
