"""The motion of each bone that both scans show, found one from the next, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.bone_alignment import Alignment, align
from spinefuse_ext.registration.bone_surface import BoneSurface
from spinefuse_ext.registration.linear import LinearMap, fit_rigid

Array = NDArray[np.float64]

#: A bone of which more than this share lies at the border of a field tells by its seen part alone where it lies.
_CUT = 0.02
_SMALL = 0.35  # of the usual volume: too little of a bone to fix its turn
_LEAST_AGREEMENT, _OF_USUAL = 0.3, 0.65


@dataclass(frozen=True)
class Bone:
    """One bone in both scans: its name, its rank from the head, its surfaces and the centres of its body, RAS mm."""

    name: str
    rank: int
    fixed: BoneSurface
    moving: BoneSurface
    fixed_centre_mm: Array
    moving_centre_mm: Array

    @property
    def cut(self) -> bool:
        """Whether the border of a field cuts it."""
        return max(self.fixed.cut, self.moving.cut) > _CUT

    @property
    def volume_ml(self) -> float:
        """Of the smaller of both labels."""
        return min(self.fixed.volume_ml, self.moving.volume_ml)

    @property
    def marks(self) -> tuple[Array, Array]:
        """Points ``(2, 3)`` that both scans share before anything is aligned: the body's centre and the bone's."""
        return (
            np.stack([self.fixed_centre_mm, self.fixed.centre_mm]),
            np.stack([self.moving_centre_mm, self.moving.centre_mm]),
        )


@dataclass(frozen=True)
class BoneMotion:
    """What the surfaces of one bone say: ``alignment`` is None where they say nothing, ``doubts`` why it is not used.

    A bone with doubts follows its neighbours.
    """

    bone: Bone
    alignment: Alignment | None
    doubts: tuple[str, ...] = ()

    @property
    def trusted(self) -> bool:
        return self.alignment is not None and not self.doubts


def bone_motions(bones: Sequence[Bone]) -> list[BoneMotion]:
    """Align every bone (from the head down); the largest whole one first, the others from what their neighbours do."""
    first = max(range(len(bones)), key=lambda place: (not bones[place].cut, bones[place].volume_ml))
    found: dict[int, Alignment | None] = {first: _best(bones[first], _starts(bones, first, {}))}
    for place in [*range(first - 1, -1, -1), *range(first + 1, len(bones))]:
        found[place] = _best(bones[place], _starts(bones, place, found))
    return _doubted([BoneMotion(bone, found[place]) for place, bone in enumerate(bones)])


def _best(bone: Bone, starts: Sequence[Array]) -> Alignment | None:
    tried = [result for start in starts if (result := align(bone.fixed, bone.moving, start)) is not None]
    return max(tried, key=lambda each: each.agreement, default=None)


def _starts(bones: Sequence[Bone], place: int, found: dict[int, Alignment | None]) -> list[Array]:
    """Where a bone may lie: as the marks of it and its neighbours say, as the nearest bone moves, and going on so."""
    starts = []
    around = [each for each in bones[max(place - 1, 0) : place + 2] if not each.cut]
    if len(around) < 2:
        around = list(bones[max(place - 2, 0) : place + 3])
    fixed, moving = (np.concatenate([each.marks[side] for each in around]) for side in (0, 1))
    if len(around) > 1:
        starts.append(fit_rigid(fixed, moving).matrix)
    for step in (1, -1):
        next_to, beyond = found.get(place + step), found.get(place + 2 * step)
        if next_to is not None:
            starts.append(next_to.matrix)
            if beyond is not None:
                starts.append(next_to.matrix @ np.linalg.inv(beyond.matrix) @ next_to.matrix)
    if not starts:
        shift = np.eye(4)
        shift[:3, 3] = bones[place].moving_centre_mm - bones[place].fixed_centre_mm
        starts.append(shift)
    return starts


def _doubted(motions: Sequence[BoneMotion]) -> list[BoneMotion]:
    """The motions with what is doubtful about each label or fit."""
    usual = float(np.median([each.bone.volume_ml for each in motions]))
    agreements = [each.alignment.agreement for each in motions if each.alignment is not None]
    typical = float(np.median(agreements)) if agreements else 0.0
    return [replace(each, doubts=tuple(_doubts(each, usual, typical))) for each in motions]


def _doubts(motion: BoneMotion, usual_ml: float, typical: float) -> list[str]:
    found = motion.alignment
    if found is None:
        return ["too little of it is seen in both scans"]
    said = []
    if motion.bone.volume_ml < _SMALL * usual_ml:
        said.append(f"only {motion.bone.volume_ml:.0f} ml of it are labelled, of usually {usual_ml:.0f}")
    if found.agreement < max(_LEAST_AGREEMENT, _OF_USUAL * typical):
        said.append(f"its surfaces agree badly (half of them lie {found.residual_mm:.1f} mm apart or more)")
    return said


def moved_mm(one: Array, other: Array, points: Array) -> float:
    """Root mean square distance of points ``(N, 3)`` under two motions ``(4, 4)``."""
    apart = LinearMap(one)(points) - LinearMap(other)(points)
    return float(np.sqrt(np.square(apart).sum(axis=1).mean()))
