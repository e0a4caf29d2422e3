"""Named points in patient space, checked once so that everything after may trust them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.names import normal_form
from spinefuse_ext.validation import LandmarkError

#: RAS <-> LPS: the first two axes change sign; its own inverse.
RAS_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Landmarks:
    """Named points: ``points_mm`` is ``(N, 3)`` in RAS millimetres, ``names`` has N unique strings, kept in NFC.

    Raises:
        LandmarkError: A name is empty, repeated, or not plain text on one line without outer spaces; or a
            coordinate is not finite.
        ValueError: The shape of ``points_mm`` does not fit ``names``.
    """

    names: tuple[str, ...]
    points_mm: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(unicodedata.normalize("NFC", name) for name in self.names))
        if np.shape(self.points_mm) != (len(self.names), 3):
            raise ValueError(f"Expected points_mm {(len(self.names), 3)}, got {np.shape(self.points_mm)}.")
        keys = [normal_form(name) for name in self.names]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise LandmarkError(f"Landmark names must be unique, but {', '.join(repeated)} stand more than once.")
        unusable = [name for name in self.names if name != normal_form(name) or not name.isprintable() or not name]
        if unusable:
            raise LandmarkError(f"Landmark names must be one line of text without outer spaces, got {unusable}.")
        if not np.isfinite(self.points_mm).all():
            raise LandmarkError(f"Landmark coordinates must be finite numbers in mm, got {self.points_mm.tolist()}.")


class Entry(NamedTuple):
    """One point as a file spells it: where it stands there, its name and its three coordinates in mm."""

    place: str
    name: str
    position: Sequence[object]


def landmarks_from_entries(entries: Sequence[Entry], to_ras: NDArray[np.float64], path: Path) -> Landmarks:
    """Check the entries of ``path`` and bring them to RAS with the factor ``to_ras`` per axis.

    Raises:
        LandmarkError: No entries, a name that is empty or repeated, or a coordinate that is no finite number;
            the message names the place in the file.
    """
    if not entries:
        raise LandmarkError(f"{path} holds no placed landmark; place points in 3D Slicer and save the file again.")
    names: list[str] = []
    places: dict[str, str] = {}
    points = np.empty((len(entries), 3))
    for row, (place, name, position) in enumerate(entries):
        name = normal_form(name)
        if not name or not name.isprintable():
            raise LandmarkError(f"{path}, {place}: expected a name in plain text, got {name!r}; name it in Slicer.")
        if name in places:
            raise LandmarkError(f"{path}, {place}: the name {name} was already used at {places[name]}; rename one.")
        places[name] = place
        names.append(name)
        points[row] = _millimetres(position, f"{path}, {place} ({name})")
    return Landmarks(tuple(names), points * to_ras)


def _millimetres(position: Sequence[object], where: str) -> NDArray[np.float64]:
    """Return three finite numbers; a text such as ``Inf`` or ``dummy`` is refused with ``where`` in the message."""
    try:
        point = np.array([float(value) for value in position if isinstance(value, (str, int, float))])
    except ValueError:
        point = np.array([np.nan])
    if point.shape != (3,) or len(position) != 3 or not np.isfinite(point).all():
        raise LandmarkError(f"{where}: expected three finite coordinates in mm, got {list(position)}; place it again.")
    return point
