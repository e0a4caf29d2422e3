"""A registration by the bones that both scans show: the motion of each, how sure it is, and any model of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.names import listed
from spinefuse_ext.registration.bone_motions import Bone, BoneMotion, bone_motions, moved_mm
from spinefuse_ext.registration.bone_points import OF_IMAGES, OF_LABELS, joined_points, neighbourly, vertebrae_of
from spinefuse_ext.registration.bone_refinement import BoneCorrection, bone_points, refine_bone
from spinefuse_ext.registration.bone_spread import Spread, bone_spread
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.leave_one_out import distances_mm
from spinefuse_ext.registration.linear import LinearMap, fit_rigid, to_itk
from spinefuse_ext.registration.models import Estimator, Model, PointMap, estimator, obstacle
from spinefuse_ext.registration.per_vertebra import PerVertebraMap
from spinefuse_ext.validation import LandmarkError

Array = NDArray[np.float64]

#: A bone that its neighbours would put this much elsewhere moves unlike them, mm. Whole bones of the tuning phantoms,
#: whose discs bend by up to 6 degrees, stayed below.
_UNLIKE_MM = 8.0
_LEGEND = (
    "(uncertainty: how far a planned pedicle screw moves when half of the evidence is left out; surface: half of the "
    "bone's surface lies nearer to that in the MR; from neighbours: where they alone would put it)"
)


@dataclass(frozen=True)
class BoneRecord:
    """What is known of one bone's motion ``matrix`` ``(4, 4)``, CT -> MR, RAS mm.

    ``follows``: it takes its neighbours' motion, for the reasons in ``doubts``. ``surface_mm`` is the median distance
    that remains between both surfaces, ``neighbours_mm`` how far its neighbours alone would put it from where it lies
    (NaN where they cannot), ``spread`` how far restarts put a pedicle screw elsewhere. ``images`` is what the images
    corrected, None without them.
    """

    name: str
    matrix: Array
    follows: bool
    doubts: tuple[str, ...]
    cut: bool
    surface_mm: float
    neighbours_mm: float
    spread: Spread
    images: BoneCorrection | None

    def to_dict(self) -> dict[str, Any]:
        """Every number for JSON; what is not known is None."""
        images = None
        if self.images is not None:
            images = {
                "shift_mm": _number(self.images.shift_mm),
                "turn_deg": _number(self.images.turn_deg),
                "mutual_information_before": _number(self.images.before),
                "mutual_information_after": _number(self.images.after),
                "not_used": self.images.reason,
            }
        return {
            "uncertainty_mm": _number(self.spread.mm),
            "uncertainty_deg": _number(self.spread.deg),
            "surface_mm": _number(self.surface_mm),
            "from_neighbours_mm": _number(self.neighbours_mm),
            "cut_by_field": self.cut,
            "follows_neighbours": self.follows,
            "doubts": list(self.doubts),
            "images": images,
            "matrix_ras_fixed_to_moving": self.matrix.tolist(),
        }


@dataclass(frozen=True)
class BoneFit:
    """``fit`` is the map of the model; ``records`` are those of the bones, from the head down."""

    fit: RegistrationFit
    records: tuple[BoneRecord, ...] = field(default=())

    def summary(self) -> str:
        """A table of the bones for a terminal."""
        lines = ["vertebra  uncertainty mm  surface mm  from neighbours mm"]
        for each in self.records:
            told = f"{each.name:8}  {_told(each.spread.mm):>14}  {_told(each.surface_mm):>10}"
            lines.append(f"{told}  {_told(each.neighbours_mm):>18}{'  cut by the field' if each.cut else ''}")
        known = [each.spread.mm for each in self.records if np.isfinite(each.spread.mm) and not each.follows]
        usual = f", uncertainty {np.median(known):.2f} mm (median), {max(known):.2f} mm at most" if known else ""
        lines.append(f"{self.fit.model} fit on {len(self.records)} bones without a click{usual}")
        lines.append(_LEGEND)
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.fit.warnings)])


def fit_bones(
    bones: Sequence[Bone],
    model: str = Model.PER_VERTEBRA,
    *,
    images: tuple[MetaTensor, MetaTensor] | None = None,
    motions: Sequence[BoneMotion] | None = None,
    doubts: Sequence[str] = (),
    seed: int = 0,
) -> BoneFit:
    """Return the map of a ``model`` from the CT to the MR by the bones that both show, from the head down.

    Each bone is laid on its partner by its surface, then by what both ``images`` ``(1, X, Y, Z)`` share about it; one
    that is doubtful follows its neighbours, and is named. Points of all bones carry the model. ``fre_mm`` of the map is
    what it leaves at the points of each bone, ``tre_mm`` the same without that bone.

    Args:
        bones: Bones that both scans show.
        model: "per_vertebra", or another of ``Model``.
        images: CT and MR, or None to go by the surfaces alone.
        motions: What ``bone_motions`` found of the bones, to save the time.
        doubts: Sentences to keep with the fit.
        seed: Of the restarts and the points compared.

    Raises:
        LandmarkError: No bone can be laid on its partner, or the points of the bones do not carry the model.
    """
    chosen = Model(model)
    found = list(bone_motions(bones) if motions is None else motions)
    if not any(each.trusted for each in found):
        raise LandmarkError(_nothing(found))
    known = [each.alignment.matrix if each.alignment and each.trusted else None for each in found]
    start = neighbourly(bones, known, OF_LABELS).matrices
    corrections = _corrections(bones, start, images, seed)
    matrices, count = list(known), OF_LABELS
    if images is not None:
        count = OF_IMAGES
        matrices = [_better(*each) for each in zip(found, corrections, start, strict=True)]
    if all(matrix is None for matrix in matrices):
        matrices = list(known)
    matrices, away, unlike = _without_unlike(bones, matrices, count)
    chain = neighbourly(bones, matrices, count)
    records = []
    for place, motion in enumerate(found):
        spread = bone_spread(bones, place, chain.matrices[place], images=images, seed=seed)
        reasons = (*motion.doubts, *unlike.get(place, ()))
        records.append(
            BoneRecord(
                motion.bone.name,
                chain.matrices[place],
                matrices[place] is None,
                reasons if matrices[place] is None else (),
                motion.bone.cut,
                _surface_mm(motion.bone, chain.matrices[place]),
                away[place],
                spread,
                corrections[place],
            )
        )
    fit = _fitted(bones, matrices, chosen, chain, count)
    said = tuple(_sentence(each) for each in records if each.follows)
    return BoneFit(replace(fit, doubts=(*doubts, *said)), tuple(records))


def _nothing(motions: Sequence[BoneMotion]) -> str:
    reasons = "; ".join(f"{each.bone.name}: {', '.join(each.doubts)}" for each in motions)
    return (
        f"No vertebra of the CT can be laid on its partner in the MR ({reasons}); check the labels of both scans in a "
        "viewer, or give ct_landmarks and mr_landmarks."
    )


def _corrections(
    bones: Sequence[Bone], start: Array, images: tuple[MetaTensor, MetaTensor] | None, seed: int
) -> list[BoneCorrection | None]:
    """What the images correct; where they found no optimum, once more from what the corrected neighbours say."""
    if images is None:
        return [None] * len(bones)
    points = [bone_points(bone, [each for each in bones if each is not bone], seed=seed) for bone in bones]
    first = [refine_bone(*images, bone, start[place], points[place]) for place, bone in enumerate(bones)]
    good = [None if each.reason else each.matrix for each in first]
    if all(each is None for each in good) or all(each is not None for each in good):
        return list(first)
    led = neighbourly(bones, good, OF_IMAGES).matrices
    again = [
        each if not each.reason else refine_bone(*images, bones[place], led[place], points[place])
        for place, each in enumerate(first)
    ]
    return list(again)


def _better(motion: BoneMotion, correction: BoneCorrection | None, start: Array) -> Array | None:
    """The motion of the images; that of a trusted surface where they say nothing; None for neither."""
    if correction is not None and correction.reason is None:
        return correction.matrix
    return start if motion.trusted else None


def _without_unlike(
    bones: Sequence[Bone], matrices: Sequence[Array | None], count: int
) -> tuple[list[Array | None], list[float], dict[int, tuple[str, ...]]]:
    """Matrices without those that their neighbours contradict, how far each lies from what they say, and why.

    Of three bones or more the one farthest off goes first; two cannot tell which of them is wrong.
    """
    kept, unlike = list(matrices), dict[int, tuple[str, ...]]()
    first = away = _from_neighbours(bones, kept, count)
    while sum(matrix is not None for matrix in kept) > 2 and np.isfinite(away).any():
        worst = int(np.nanargmax(away))
        if away[worst] <= _UNLIKE_MM:
            break
        unlike[worst] = (f"it would move unlike its neighbours, by {away[worst]:.1f} mm",)
        kept[worst] = None
        away = _from_neighbours(bones, kept, count)
    return kept, [first[place] if place in unlike else far for place, far in enumerate(away)], unlike


def _from_neighbours(bones: Sequence[Bone], matrices: Sequence[Array | None], count: int) -> list[float]:
    """How far each bone with a matrix lies from where all others would put it, mm; NaN for one that has none."""
    fixed, moving, owner = joined_points(bones, matrices, count)
    vertebrae = vertebrae_of(bones, owner)
    fitted = estimator(Model.PER_VERTEBRA, fixed, moving, vertebrae)
    away = []
    for place, matrix in enumerate(matrices):
        rows = np.flatnonzero(owner != place)
        if matrix is None or len(set(owner[rows].tolist())) < 2:
            away.append(float("nan"))
            continue
        led = fitted(rows)
        assert isinstance(led, PerVertebraMap)
        away.append(moved_mm(led.matrices[place], matrix, bones[place].fixed.points))
    return away


def _fitted(
    bones: Sequence[Bone], matrices: Sequence[Array | None], model: Model, chain: PerVertebraMap, count: int
) -> RegistrationFit:
    fixed, moving, owner = joined_points(bones, matrices, count)
    reason = obstacle(model, fixed) or obstacle(model, moving)
    if reason:
        raise LandmarkError(f"The points of {listed([bone.name for bone in bones])} {reason}; use the model rigid.")
    fitted = estimator(model, fixed, moving, vertebrae_of(bones, owner))
    mapping: PointMap = chain if model is Model.PER_VERTEBRA else fitted(np.arange(len(fixed)))
    matrix = mapping.matrix if isinstance(mapping, LinearMap) else fit_rigid(fixed, moving).matrix
    places = sorted(set(owner.tolist()))
    without = [_without(fitted, fixed, moving, owner, place) for place in places]
    return RegistrationFit(
        model=model.value,
        transform=to_itk(matrix) if isinstance(mapping, LinearMap) else None,
        matrix=matrix,
        names=tuple(bones[place].name for place in places),
        fre_mm=np.array([_rms(mapping, fixed[owner == place], moving[owner == place]) for place in places]),
        tre_mm=np.array(without),
        mapping=mapping,
        tre_reasons=tuple(None if np.isfinite(each) else "there is no other bone" for each in without),
    )


def _without(fitted: Estimator, fixed: Array, moving: Array, owner: NDArray[np.int64], place: int) -> float:
    rows = np.flatnonzero(owner != place)
    if not len(rows):
        return float("nan")
    return _rms(fitted(rows), fixed[owner == place], moving[owner == place])


def _rms(mapping: PointMap, fixed: Array, moving: Array) -> float:
    return float(np.sqrt(np.square(distances_mm(mapping, fixed, moving)).mean()))


def _surface_mm(bone: Bone, matrix: Array) -> float:
    away = np.abs(bone.moving.distance(LinearMap(matrix)(bone.fixed.points))[0])
    return float(np.nanmedian(away)) if np.isfinite(away).any() else float("nan")


def _sentence(record: BoneRecord) -> str:
    why = ", and ".join(record.doubts) or "neither surfaces nor images fix it"
    return f"{record.name} follows its neighbours, for {why}; look at it before you use it."


def _told(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
