"""What is known of levels before counting: points with a name, the lowest disc, landmarks, the sacrum of the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.levels.ids import HEAD_DOWN
from spinefuse_ext.levels.naming import Anchor
from spinefuse_ext.registration.landmark_files import read_landmarks
from spinefuse_ext.registration.vertebrae import levels_in
from spinefuse_ext.validation import LandmarkError, LevelsError

Points = NDArray[np.float64]

_ANCHOR = re.compile(
    r"\s*([A-Za-z]\d{1,2})(?:\s*/\s*([A-Za-z]\d{1,2}))?\s*@\s*([^,;\s]+)\s*[,;]\s*([^,;\s]+)\s*[,;]\s*([^,;\s]+)\s*"
)
#: A point farther than this from all bone and discs names none of them.
_REACH_MM = 10.0


class NamedPoint:
    """A point (RAS mm) and the level it lies on: a vertebra, or the vertebra above for a disc (``is_disc``)."""

    def __init__(self, text: str) -> None:
        """Read ``L3@x,y,z`` or ``L4/L5@x,y,z``.

        Raises:
            LevelsError: it is neither, or names no level.
        """
        found = _ANCHOR.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            point = np.array([float(found[place]) for place in (3, 4, 5)])
        except ValueError:
            point = np.full(3, np.nan)
        if found is None or not np.isfinite(point).all():
            raise LevelsError(
                f"An anchor is a level and a point in RAS mm, such as L3@-4.5,12,310 or L4/L5@0,20,280, got {text!r}."
            )
        self.name, self.is_disc, self.point_mm = level_name(found[1]), found[2] is not None, point
        if self.is_disc:
            disc_name(f"{found[1]}/{found[2]}")
        self.text = text.strip()


def level_name(text: str) -> str:
    """``l3`` -> ``L3``.

    Raises:
        LevelsError: there is no such vertebra.
    """
    name = text.strip().upper()
    if name not in HEAD_DOWN:
        raise LevelsError(f"There is no vertebra {text.strip()}; name one such as C7, T12, L3 or S1.")
    return name


def disc_name(text: str) -> str:
    """The vertebra above a disc: ``L5/S1`` -> ``L5``.

    Raises:
        LevelsError: these two are no neighbours.
    """
    above, slash, below = text.partition("/")
    if not slash:
        raise LevelsError(f"A disc is named by the vertebrae above and below it, such as L5/S1, got {text!r}.")
    upper, lower = level_name(above), level_name(below)
    between = HEAD_DOWN[HEAD_DOWN.index(upper) + 1 : HEAD_DOWN.index(lower)]
    if HEAD_DOWN.index(lower) <= HEAD_DOWN.index(upper) or set(between) - {"T13", "L6"}:
        raise LevelsError(f"{upper} and {lower} are no neighbours; a disc is named such as L4/L5 or L5/S1.")
    return upper


def point_anchors(
    points: Sequence[NamedPoint], bones: Sequence[tuple[int, Points]], discs: Sequence[tuple[int, Points]]
) -> list[Anchor]:
    """Anchors of named points: on which vertebra or disc of ``(rank, voxel centres (N, 3))`` each lies.

    Raises:
        LevelsError: A point lies more than 10 mm from all of them.
    """
    return [
        Anchor(_rank_at(point, discs if point.is_disc else bones), point.name, f"given as {point.text}")
        for point in points
    ]


def _rank_at(point: NamedPoint, among: Sequence[tuple[int, Points]]) -> int:
    far = [float(np.linalg.norm(voxels - point.point_mm, axis=1).min()) for _, voxels in among]
    if not far or min(far) > _REACH_MM:
        what = "disc" if point.is_disc else "vertebra"
        away = f"{min(far):.0f} mm from the nearest {what}" if far else f"in a label volume without any {what}"
        raise LevelsError(
            f"The anchor {point.text} lies {away}; its point must lie within {_REACH_MM:.0f} mm of one, in RAS mm "
            "(3D Slicer shows R, A, S; negate the first two numbers of LPS)."
        )
    return among[int(np.argmin(far))][0]


def landmark_anchors(path: str | Path, bones: Sequence[tuple[int, Points]]) -> list[Anchor]:
    """One anchor for each vertebra that clicked landmarks name, such as ``L3 spinous tip``.

    Raises:
        LevelsError: No name holds a level, or landmarks of two names lie on one vertebra.
    """
    landmarks = read_landmarks(path)
    found: dict[int, tuple[str, str]] = {}
    for name, point in zip(landmarks.names, landmarks.points_mm, strict=True):
        try:
            level = levels_in([name])[0]
        except LandmarkError:
            continue
        if level.startswith("V"):
            continue
        far = [float(np.linalg.norm(voxels - point, axis=1).min()) for _, voxels in bones]
        if not far or min(far) > _REACH_MM:
            continue
        rank = bones[int(np.argmin(far))][0]
        if found.get(rank, (level, name))[0] != level:
            raise LevelsError(
                f"The landmarks {found[rank][1]} and {name} of {path} lie on one vertebra of the labels; correct the "
                "name of one of them."
            )
        found.setdefault(rank, (level, name))
    if not found:
        raise LevelsError(
            f"No landmark of {path} names a level (such as 'L3 spinous tip') and lies within {_REACH_MM:.0f} mm of a "
            "vertebra of the labels; check that both belong to one image."
        )
    return [Anchor(rank, level, f"landmark {name}") for rank, (level, name) in sorted(found.items())]
