"""Which landmark lies on which vertebra: by its name, or by a label volume of the CT."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from spinefuse_ext.registration.label_schemes import vertebra_names
from spinefuse_ext.registration.label_values import whole_labels
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.validation import LandmarkError

Points = NDArray[np.float64]

_LEVEL = re.compile(r"(?<![A-Za-z0-9])([CTLSV])0*([1-9]\d?)(?!\d)", re.IGNORECASE)
_PROCESS = re.compile("spinous|transverse|process|tip|lamina", re.IGNORECASE)
_HEAD_DOWN = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 14)),
    *(f"L{number}" for number in range(1, 7)),
    "S1",
)
_EXTRA = {"T13", "L6"}
#: A landmark further than this from every labelled vertebra was set on something else.
_REACH_MM = 20.0


@dataclass(frozen=True)
class Vertebrae:
    """V vertebrae from the head down, and the owner of each of N landmarks, all in fixed (CT) space, RAS mm.

    ``ranks`` ``(V,)`` counts levels from the head, so neighbours differ by 1 and more where levels are left out;
    ``centres_mm`` is ``(V, 3)``; ``owner`` is ``(N,)``, rows of ``names``. ``bones`` holds the voxel centres of each
    vertebra as a search tree, with ``voxel_mm``, half a voxel's smallest side; empty without a label volume.
    """

    names: tuple[str, ...]
    ranks: NDArray[np.int64]
    centres_mm: Points
    owner: NDArray[np.int64]
    bones: tuple[cKDTree, ...] = ()
    voxel_mm: float = 0.0


def vertebrae_from_names(landmarks: Landmarks) -> Vertebrae:
    """Group landmarks by the one level in each name: ``L3 superior anterior``, ``t12_tip``, or counted, ``V01``.

    Raises:
        LandmarkError: A name holds no level or several, or counted and anatomical levels are mixed.
    """
    levels = levels_in(landmarks.names)
    rank_of = ranks_of(levels)
    names = tuple(sorted(rank_of, key=rank_of.__getitem__))
    ranks = np.array([rank_of[name] for name in names])
    owner = np.array([names.index(level) for level in levels])
    return Vertebrae(names, ranks, _centres(landmarks, ranks, owner), owner)


def vertebrae_from_labels(landmarks: Landmarks, label: MetaTensor, path: Path) -> Vertebrae:
    """Give each landmark to the nearest labelled vertebra of ``label`` ``(1, X, Y, Z)``, a volume in CT space.

    Numbers need not be in order: vertebrae are ranked along the line through their centres. They are named, and other
    structures left out, by the scheme of numbers that fits; where none or several do, all are bones and keep numbers.

    Raises:
        LandmarkError: The volume holds no label or other values, or a landmark lies over 20 mm from every vertebra.
    """
    volume = whole_labels(label, path)
    numbers = [int(number) for number in np.unique(volume) if number > 0]
    if not numbers:
        raise LandmarkError(f"{path} holds no labelled vertebra; give a label volume with a number per vertebra.")
    affine = label.affine.numpy()
    boxes = ndimage.find_objects(volume)
    bones = [_voxel_centres(volume, boxes[number - 1], number, affine) for number in numbers]
    centres = np.stack([bone.mean(0) for bone in bones])
    named = _named(numbers, centres, path)
    kept = [place for place, number in enumerate(numbers) if number in named]
    numbers, bones, centres = [numbers[place] for place in kept], [bones[place] for place in kept], centres[kept]
    order = np.argsort(-_along_line(centres))
    trees = tuple(cKDTree(bones[place]) for place in order)
    far = np.stack([tree.query(landmarks.points_mm)[0] for tree in trees])
    _check_reach(landmarks, far.min(0), path)
    return Vertebrae(
        names=tuple(named[numbers[place]] for place in order),
        ranks=np.arange(len(numbers)),
        centres_mm=centres[order],
        owner=far.argmin(0),
        bones=trees,
        voxel_mm=float(np.linalg.norm(affine[:3, :3], axis=0).min() / 2),
    )


def levels_in(names: Sequence[str]) -> list[str]:
    """Return the level that each landmark name holds, ``L3`` or, counted from the head, ``V03``.

    Raises:
        LandmarkError: A name holds no level or several, or counted and anatomical levels are mixed.
    """
    levels = [_level(name) for name in names]
    counted = [level.startswith("V") for level in levels]
    if any(counted) and not all(counted):
        raise LandmarkError(
            f"Expected landmark names of one kind, got {', '.join(sorted(set(levels)))}: V01 counts levels from the "
            "head, L3 names one; use one way for all."
        )
    return levels


def without_level(name: str) -> str:
    """``"L3 spinous tip"`` -> ``" spinous tip"``: which point of a vertebra a name means."""
    return _LEVEL.sub("", name)


def _level(name: str) -> str:
    """``"l03 tip"`` -> ``"L3"``; every sacral segment is one bone, S1."""
    found = {f"{letter.upper()}{number}" for letter, number in _LEVEL.findall(name)}
    levels = {"S1" if level.startswith("S") else level for level in found}
    if len(levels) != 1 or not (next(iter(levels)) in _HEAD_DOWN or next(iter(levels)).startswith("V")):
        raise LandmarkError(
            f"Expected one vertebra level in the landmark name {name}, got {', '.join(sorted(levels)) or 'none'}; the "
            "model per_vertebra needs names such as 'L3 spinous tip', or a vertebra label volume (--vertebrae)."
        )
    return levels.pop()


def ranks_of(levels: Sequence[str]) -> dict[str, int]:
    """Level -> place from the head; T13 and L6 count only where they occur, so that L5 and S1 are neighbours."""
    if levels[0].startswith("V"):
        return {level: int(level[1:]) for level in levels}
    present = [level for level in _HEAD_DOWN if level not in _EXTRA or level in levels]
    return {level: present.index(level) for level in levels}


def _centres(landmarks: Landmarks, ranks: NDArray[np.int64], owner: NDArray[np.int64]) -> Points:
    """Points of a smooth curve along the levels, one each; points on processes count only if there are no others."""
    on_body = np.array([not _PROCESS.search(name) for name in landmarks.names])
    used = on_body if len(set(owner[on_body])) > 1 else np.ones_like(on_body)
    levels = len(set(owner[used]))
    degree = 0 if levels == 1 else 1 if levels < 4 else 2 if levels < 7 else 3
    curve = np.polynomial.polynomial.polyfit(ranks[owner[used]].astype(float), landmarks.points_mm[used], degree)
    return np.asarray(np.polynomial.polynomial.polyval(ranks.astype(float), curve).T, dtype=np.float64)


def _named(numbers: list[int], centres: Points, path: Path) -> dict[int, str]:
    try:
        return vertebra_names(numbers, centres, path)
    except LandmarkError:
        return {number: str(number) for number in numbers}


def _voxel_centres(volume: NDArray[np.int64], box: tuple[slice, ...], number: int, affine: Points) -> Points:
    voxels = np.argwhere(volume[box] == number) + [part.start for part in box]
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


def _along_line(centres: Points) -> Points:
    """Place of each centre along the line through all, growing towards the head."""
    if len(centres) == 1:
        return np.zeros(1)
    _, _, axes = np.linalg.svd(centres - centres.mean(0))
    return np.asarray(centres @ (axes[0] * np.sign(axes[0, 2])), dtype=np.float64)


def _check_reach(landmarks: Landmarks, distance_mm: Points, path: Path) -> None:
    worst = int(distance_mm.argmax())
    if distance_mm[worst] > _REACH_MM:
        raise LandmarkError(
            f"Landmark {landmarks.names[worst]} lies {distance_mm[worst]:.0f} mm from the nearest vertebra in {path}, "
            f"expected at most {_REACH_MM:.0f} mm; check that the label volume belongs to this CT."
        )
