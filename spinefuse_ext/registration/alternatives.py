"""Other ways in which points or a transform may have been meant: mistakes that leave no error at the landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.registration.image_box import MARGIN_MM, outside_mm
from spinefuse_ext.registration.landmarks import RAS_LPS, Landmarks
from spinefuse_ext.registration.level_shift import shifted_levels
from spinefuse_ext.registration.linear import LinearMap, fit_rigid
from spinefuse_ext.registration.models import Model, obstacle

Points = NDArray[np.float64]
Reading = Callable[[Points], Points]

_LPS = np.diag([*RAS_LPS, 1.0])
#: A reading under which the points fit worse than this part of their spread is none.
_MISFIT, _LEVEL_MISFIT = 0.2, 0.4
_IN_LPS = "with x and y negated (LPS in place of RAS, or the reverse)"


@dataclass(frozen=True)
class Alternative:
    """Another rigid map from CT to MR, and the words that follow "if": "the transform is inverted".

    ``placed`` says that it brings points inside their images that lie outside as given.
    """

    kind: str
    condition: str
    mapping: LinearMap
    placed: bool = False


def of_transform(matrix: Points) -> Iterator[Alternative]:
    """Return what a transform file with this ``(4, 4)`` map in RAS may have meant instead."""
    inverse, other = _inverse(matrix), np.asarray(_LPS @ matrix @ _LPS, dtype=np.float64)
    yield Alternative("inverse", "the transform is inverted (it maps MR to CT points)", LinearMap(inverse))
    yield Alternative("other_system", "the transform is read in RAS, not LPS", LinearMap(other))
    both = "the transform is inverted and read in RAS, not LPS"
    yield Alternative("inverse_other_system", both, LinearMap(_inverse(other)))


def of_points(
    points: tuple[Landmarks, Landmarks], paths: tuple[str, str], images: tuple[MetaTensor, MetaTensor]
) -> Iterator[Alternative]:
    """Return what two matched lists (CT, MR) may have meant instead, as far as the points then fit and lie inside.

    Readings of one list or both: the other coordinate system, centimetres, metres, voxel indices; the two files
    exchanged.
    """
    given = (points[0].points_mm, points[1].points_mm)
    before = [_outside(each, image) for each, image in zip(given, images, strict=True)]
    for kind, condition, read in _readings(given, paths, images):
        after = [_outside(each, image) for each, image in zip(read, images, strict=True)]
        fits = obstacle(Model.RIGID, *read) is None and _misfit(*read) <= _MISFIT
        if fits and all(now <= then for now, then in zip(after, before, strict=True)) and max(after) <= 0.2:
            yield Alternative(kind, condition, fit_rigid(*read), placed=sum(before) > 0 and sum(after) == 0)


def of_levels(
    matched: tuple[Landmarks, Landmarks], lists: tuple[Landmarks, Landmarks], matrix: Points
) -> Iterator[Alternative]:
    """Return what two lists may have meant if the levels of one were counted from another vertebra.

    That leaves little error; where the points that are matched now hardly fit, the mistake is another.
    """
    if _misfit(*(points.points_mm for points in matched)) > _LEVEL_MISFIT:
        return
    fixed, moving = lists
    for shift, mapping in shifted_levels(fixed, moving, LinearMap(matrix)):
        way = "lower" if shift > 0 else "higher"
        count = "one level" if abs(shift) == 1 else f"{abs(shift)} levels"
        yield Alternative("levels", f"each landmark of the MR is taken {count} {way}", mapping)


def _readings(
    given: tuple[Points, Points], paths: tuple[str, str], images: tuple[MetaTensor, MetaTensor]
) -> Iterator[tuple[str, str, tuple[Points, Points]]]:
    ct, mr = given
    for kind, words, readings in _kinds(images):
        changed = readings[0](ct), readings[1](mr)
        yield kind, f"the points of {paths[1]} are read {words}", (ct, changed[1])
        yield kind, f"the points of {paths[0]} are read {words}", (changed[0], mr)
        yield kind, f"the points of both lists are read {words}", changed
    yield "exchanged", f"the two point lists are exchanged ({paths[1]} for the CT)", (mr, ct)


def _kinds(images: tuple[MetaTensor, MetaTensor]) -> Iterator[tuple[str, str, tuple[Reading, Reading]]]:
    yield "other_system", _IN_LPS, (_scaled(RAS_LPS), _scaled(RAS_LPS))
    for factor, unit in ((10.0, "centimetres"), (1000.0, "metres")):
        yield "unit", f"in {unit}", (_scaled(np.full(3, factor)), _scaled(np.full(3, factor)))
    ct, mr = (LinearMap(image.affine.numpy().astype(np.float64)) for image in images)
    yield "voxels", "as voxel indices", (ct, mr)


def _scaled(factor: Points) -> Reading:
    return lambda points: points * factor


def _inverse(matrix: Points) -> Points:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _outside(points: Points, image: MetaTensor) -> float:
    return float((outside_mm(points, image) > MARGIN_MM).mean())


def _misfit(fixed: Points, moving: Points) -> float:
    """Return the rigid error as a part of the spread of the moving points."""
    left = fit_rigid(fixed, moving)(fixed) - moving
    return float(np.linalg.norm(left) / max(float(np.linalg.norm(moving - moving.mean(0))), 1e-9))
