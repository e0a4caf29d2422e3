"""Points that a person can name and click on a vertebra, in the frame of the bone and in either posture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.data.phantom.posture import Motion
from spinefuse_ext.data.phantom.shapes import Point
from spinefuse_ext.data.phantom.spine import Vertebra
from spinefuse_ext.data.phantom.vertebra import endplate_height, spinous_tip
from spinefuse_ext.registration.landmarks import Landmarks

#: Root mean square distance between the point that is meant and the point that is clicked.
CLICK_MM = 1.0
#: A spinous tip and three edges of either endplate.
MOST_PER_VERTEBRA = 7
_TIPS, _LANDMARKS, _TARGETS, _MARGIN_MM = 4, 8, 40, 2.0


@dataclass(frozen=True)
class PointPair:
    """The same named points in CT and in MR space, RAS mm."""

    ct: Landmarks
    mr: Landmarks


@dataclass(frozen=True)
class _Candidate:
    name: str
    rank: tuple[int, int, float]
    ct_mm: NDArray[np.float64]
    mr_mm: NDArray[np.float64]


def landmark_points(motion: Motion, size_mm: Iterable[float], per_vertebra: int | None = None) -> PointPair:
    """8 landmarks inside the field: up to four spinous tips, then edges of endplates spread over the levels.

    ``per_vertebra`` takes that many of every vertebra instead, as far as they lie in the field.
    """
    half = np.asarray(list(size_mm)) / 2
    if per_vertebra is not None:
        return _pair(_of_every_vertebra(motion, half, per_vertebra))
    tips = sorted(_candidates(motion, half, {"spinous_tip"}), key=lambda each: each.rank)
    tips = [each for each in tips if each.rank[0] == 0][:_TIPS]
    edges = {name for name in _endplate_points(motion.spine.vertebrae[0]) if not name.endswith("centre")}
    others = sorted(_candidates(motion, half, edges), key=lambda each: each.rank)
    return _pair([*tips, *others[: _LANDMARKS - len(tips)]])


def _of_every_vertebra(motion: Motion, half_mm: NDArray[np.float64], count: int) -> list[_Candidate]:
    """The spinous tip and edges of endplates of each level, other edges first from level to level."""
    names = {"spinous_tip"} | {name for name in _endplate_points(motion.spine.vertebrae[0]) if "centre" not in name}
    inside = [each for each in _candidates(motion, half_mm, names) if each.rank[0] == 0]
    chosen: list[_Candidate] = []
    for bone in motion.spine.vertebrae:
        own = [each for each in inside if each.name.startswith(f"{bone.name}_")]
        chosen += sorted(own, key=lambda each: not each.name.endswith("spinous_tip"))[:count]
    return chosen


def target_points(
    motion: Motion, size_mm: Iterable[float], landmarks: PointPair | None, count: int = _TARGETS
) -> PointPair:
    """40 (``count``) points that are no landmarks, those in the field first: where an error is measured (TRE)."""
    half = np.asarray(list(size_mm)) / 2
    names = set(_endplate_points(motion.spine.vertebrae[1])) | set(_other_points(motion.spine.vertebrae[1]))
    taken = () if landmarks is None else landmarks.ct.names
    free = [each for each in _candidates(motion, half, names) if each.name not in taken]
    return _pair(sorted(free, key=lambda each: (each.rank[0], each.rank[2]))[:count])


def click(points: PointPair, rng: np.random.Generator) -> PointPair:
    """The points as a person would set them: each off by 1 mm root mean square, independently in CT and MR."""
    ct, mr = (
        Landmarks(each.names, each.points_mm + rng.normal(0, CLICK_MM / np.sqrt(3), each.points_mm.shape))
        for each in (points.ct, points.mr)
    )
    return PointPair(ct, mr)


def _pair(chosen: list[_Candidate]) -> PointPair:
    names = tuple(each.name for each in chosen)
    ct, mr = (np.stack([getattr(each, space) for each in chosen]) for space in ("ct_mm", "mr_mm"))
    return PointPair(Landmarks(names, ct), Landmarks(names, mr))


def _candidates(motion: Motion, half_mm: NDArray[np.float64], wanted: set[str]) -> list[_Candidate]:
    """Every wanted point of every vertebra above the sacrum, ranked: outside the field, turn in its level, distance."""
    found: list[_Candidate] = []
    for place, bone in enumerate(motion.spine.vertebrae):
        if bone.is_sacrum:
            continue
        points = {**_endplate_points(bone), **_other_points(bone)}
        own = [name for name in points if name in wanted]
        own = own[place % 4 :] + own[: place % 4]  # another edge first at each level, so that they do not line up
        for name in own:
            homogeneous = np.asarray([*points[name], 1.0])
            ct, mr = ((posture.frames[place] @ homogeneous)[:3] for posture in (motion.fixed, motion.moved))
            outside = int(np.any(np.abs(ct) > half_mm - _MARGIN_MM))
            turn = sum(other.rank[0] == outside for other in found if other.name.startswith(bone.name))
            found.append(_Candidate(f"{bone.name}_{name}", (outside, turn, float(np.linalg.norm(ct))), ct, mr))
    return found


def _endplate_points(bone: Vertebra) -> dict[str, Point]:
    """Edges and centres of both endplates, in the bone's frame."""
    wide, deep = 0.46 * bone.width_mm, 0.46 * bone.depth_mm
    spots = {"left": (-wide, 0.0), "anterior": (0.0, deep), "right": (wide, 0.0), "centre": (0.0, 0.0)}
    points: dict[str, Point] = {}
    for plate, side in (("upper", 1), ("lower", -1)):
        for spot, (x, y) in spots.items():
            z = float(endplate_height(bone, np.asarray(x), np.asarray(y), side))
            points[f"{plate}_endplate_{spot}"] = (x, y, z)
    return points


def _other_points(bone: Vertebra) -> dict[str, Point]:
    """Spinous tip, body centre, tips of the transverse processes, pedicles and laminae, in the bone's frame."""
    half, back = bone.height_mm / 2, -bone.depth_mm / 2
    points: dict[str, Point] = {"spinous_tip": spinous_tip(bone), "body_centre": (0.0, 0.0, 0.0)}
    for name, sign in (("left", -1.0), ("right", 1.0)):
        reach = bone.reach_mm / (1 + sign * bone.asymmetry)
        points[f"transverse_tip_{name}"] = (sign * reach, back - 13 * bone.depth_mm / 34.5, 0.45 * half)
        points[f"pedicle_{name}"] = (sign * 0.34 * bone.width_mm, back - 3, 0.39 * half)
        points[f"lamina_{name}"] = (sign * 7.5, back - 19.5 * bone.depth_mm / 34.5, -0.15 * half)
    return points
