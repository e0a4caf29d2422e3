"""Which vertebra of a CT is which of the MR: by their names, or by bones and images where names do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.levels.record import Level, Levels
from spinefuse_ext.registration.bone_motions import Bone, BoneMotion, bone_motions
from spinefuse_ext.registration.bone_points import OF_LABELS, neighbourly
from spinefuse_ext.registration.bone_surface import Numbered, bone_surface
from spinefuse_ext.registration.shared_information import Gain, SharedInformation
from spinefuse_ext.validation import LevelsError

Points = NDArray[np.float64]

#: The images decide between two ways to pair levels from this gain in mutual information over its standard error on.
_CLEARLY = 3.0
#: Bones of a pairing that is right agree by no less than this beside those of a rival.
_SURFACES = 0.06
_CURE = (
    "name one level in each scan by --ct_anchor and --mr_anchor, its name and a point inside it in mm as 3D Slicer "
    "shows it (RAS), such as L3@-4.5,12,310"
)


@dataclass(frozen=True)
class NumberedScan:
    """One scan with its levels told apart: ``volume`` holds their numbers; ``given``: a person named one of them."""

    path: str
    image: MetaTensor
    volume: Numbered
    levels: Levels
    given: bool = False

    @property
    def bones(self) -> tuple[Level, ...]:
        """Vertebrae and the sacrum, from the head down."""
        return tuple(level for level in self.levels.levels if level.kind != "disc")


@dataclass(frozen=True)
class Pairing:
    """Bones that both scans show, from the head down, how each moves, why they belong together, and what is doubtful.

    ``shift`` is by how many ranks the MR counts the same vertebra later than the CT.
    """

    bones: tuple[Bone, ...]
    motions: tuple[BoneMotion, ...]
    shift: int
    evidence: str
    doubts: tuple[str, ...] = ()


def pair_levels(ct: NumberedScan, mr: NumberedScan, *, seed: int = 0) -> Pairing:
    """Pair the bones of two scans of one patient.

    Where both are named, names pair them; else every shift under which at least two bones meet is tried. Either way
    bones are laid on each other under that shift and its rivals, and the images say under which they share most. It is
    refused where they do not say clearly, or contradict names that nobody gave.

    Raises:
        LevelsError: No level is common, or nothing tells which is which.
    """
    surfaces = _Surfaces(ct, mr)
    named = not ct.levels.relative and not mr.levels.relative
    shifts = _named_shifts(ct, mr) if named else _possible_shifts(ct, mr)
    tried = [each for shift in shifts if (each := surfaces.under(shift)) is not None]
    if not tried or (named and tried[0].shift != shifts[0]):
        raise LevelsError(_no_common(ct, mr))
    voxels = np.concatenate([surface.voxels_mm for surface in surfaces.ct.values() if surface is not None])
    shared = SharedInformation(ct.image, mr.image, voxels, seed=seed)
    values = {each.shift: shared.values(neighbourly(each.bones, each.known, OF_LABELS)) for each in tried}
    if named:
        return _by_name(ct, mr, tried, values, shared)
    return _by_images(ct, mr, tried, values, shared)


@dataclass(frozen=True)
class _Tried:
    """The bones that meet under one shift, laid on each other."""

    shift: int
    bones: tuple[Bone, ...]
    motions: tuple[BoneMotion, ...]

    @property
    def known(self) -> list[Points | None]:
        """The motions of the bones that are no doubt; of all that there are where all are doubtful."""
        trusted = [each.alignment.matrix if each.alignment and each.trusted else None for each in self.motions]
        if any(matrix is not None for matrix in trusted):
            return list(trusted)
        return [None if each.alignment is None else each.alignment.matrix for each in self.motions]

    @property
    def agreement(self) -> float:
        """How well the surfaces agree, 0 to 1; mean over the bones."""
        return float(np.mean([0.0 if each.alignment is None else each.alignment.agreement for each in self.motions]))


class _Surfaces:
    """The surfaces of all bones of both scans by their ranks, made once for all shifts."""

    def __init__(self, ct: NumberedScan, mr: NumberedScan) -> None:
        self._levels = [{level.rank: level for level in scan.bones} for scan in (ct, mr)]
        self.ct, self.mr = (
            {level.rank: bone_surface(scan.volume, level.number) for level in scan.bones} for scan in (ct, mr)
        )

    def under(self, shift: int) -> _Tried | None:
        """Lay on each other the bones that meet under a shift; None where none can be."""
        bones = []
        for rank, fixed in self.ct.items():
            moving = self.mr.get(rank + shift)
            if fixed is None or moving is None:
                continue
            ours, theirs = self._levels[0][rank], self._levels[1][rank + shift]
            name = theirs.name if ours.name.startswith("V") and not theirs.name.startswith("V") else ours.name
            centres = (np.array(level.centroid_mm, dtype=np.float64) for level in (ours, theirs))
            bones.append(Bone(name, rank, fixed, moving, *centres))
        if not bones:
            return None
        motions = bone_motions(bones)
        if all(each.alignment is None for each in motions):
            return None
        return _Tried(shift, tuple(bones), tuple(motions))


def _named_shifts(ct: NumberedScan, mr: NumberedScan) -> list[int]:
    """The shift that names tell, then its neighbours."""
    ranks = {level.name: level.rank for level in mr.bones}
    shifts = [ranks[level.name] - level.rank for level in ct.bones if level.name in ranks]
    if not shifts:
        raise LevelsError(_no_common(ct, mr))
    told = max(set(shifts), key=shifts.count)
    return [told, told - 1, told + 1]


def _possible_shifts(ct: NumberedScan, mr: NumberedScan) -> list[int]:
    """All shifts under which two bones meet (one, where a scan has no more)."""
    ours, theirs = ({level.rank for level in scan.bones} for scan in (ct, mr))
    least = min(2, len(ours), len(theirs))
    reach = range(min(theirs) - max(ours), max(theirs) - min(ours) + 1)
    return [shift for shift in reach if len({rank + shift for rank in ours} & theirs) >= least]


def _by_name(
    ct: NumberedScan, mr: NumberedScan, tried: Sequence[_Tried], values: dict[int, Points], shared: SharedInformation
) -> Pairing:
    told, rivals = tried[0], tried[1:]
    gains = [(each, gain) for each in rivals if (gain := shared.compare(values[told.shift], values[each.shift]))]
    against = [(each, gain) for each, gain in gains if gain.errors < -_CLEARLY and _surfaces_allow(each, told)]
    names = f"both scans are named ({ct.levels.named_by}; {mr.levels.named_by})"
    if not against:
        return Pairing(told.bones, told.motions, told.shift, f"{names}{_figures(gains)}")
    rival, gain = min(against, key=lambda each: each[1].errors)
    way = "above" if rival.shift < told.shift else "below"
    said = (
        f"The names of the CT ({ct.levels.told()}) and of the MR ({mr.levels.told()}) contradict the images, which "
        f"share more if the MR's names stand one level {way} the right ones (mutual information {gain.rival:.3f} "
        f"instead of {gain.one:.3f} nats)"
    )
    if ct.given and mr.given:
        return Pairing(told.bones, told.motions, told.shift, names, (f"{said}; look at both scans.",))
    raise LevelsError(f"{said}; {_CURE}.")


def _by_images(
    ct: NumberedScan, mr: NumberedScan, tried: Sequence[_Tried], values: dict[int, Points], shared: SharedInformation
) -> Pairing:
    best = tried[0]
    for each in tried[1:]:
        gain = shared.compare(values[each.shift], values[best.shift])
        if gain is not None and gain.one > gain.rival:
            best = each
    rivals = [each for each in tried if each is not best]
    gains = [(each, gain) for each in rivals if (gain := shared.compare(values[best.shift], values[each.shift]))]
    unclear = [(each, gain) for each, gain in gains if gain.errors < _CLEARLY or not _surfaces_allow(best, each)]
    compared = {each.shift for each, _ in gains}
    for each in rivals:
        if each.shift not in compared and len(each.bones) >= len(best.bones):
            raise LevelsError(
                f"Nothing tells surely which vertebra of the CT {ct.path} is which of the MR {mr.path}: "
                f"{_paired(best)} and {_paired(each)} show no tissue in common by which to choose; {_CURE}."
            )
    if unclear:
        rival, gain = min(unclear, key=lambda each: each[1].errors)
        raise LevelsError(
            f"Nothing tells surely which vertebra of the CT {ct.path} is which of the MR {mr.path}: "
            f"{_paired(best)}, fit both scans not clearly better than {_paired(rival)}; {_CURE}, or give landmarks."
        )
    return Pairing(best.bones, best.motions, best.shift, f"bones and images decided{_figures(gains)}")


def _surfaces_allow(better: _Tried, rival: _Tried) -> bool:
    """Whether the bones agree no worse under the shift that the images prefer."""
    return better.agreement > rival.agreement - _SURFACES


def _figures(gains: Sequence[tuple[_Tried, Gain]]) -> str:
    if not gains:
        return ""
    nearest = min((gain for _, gain in gains), key=lambda gain: gain.errors)
    return (
        f"; mutual information {nearest.one:.3f} nats, under the best other shift {nearest.rival:.3f}, "
        f"{nearest.errors:.1f} standard errors apart"
    )


def _paired(tried: _Tried) -> str:
    first = tried.bones[0]
    how = "in the order seen" if not tried.shift else f"moved by {abs(tried.shift)} level{'s' * (abs(tried.shift) > 1)}"
    return f"{len(tried.bones)} vertebrae from {first.name} down, {how}"


def _no_common(ct: NumberedScan, mr: NumberedScan) -> str:
    return (
        f"No vertebra is seen in both scans: the CT {ct.path} shows {ct.levels.told() or 'none'} and the MR {mr.path} "
        f"{mr.levels.told() or 'none'}; give scans of one part of the spine, or {_CURE}."
    )
