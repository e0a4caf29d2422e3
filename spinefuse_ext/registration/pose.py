"""Whether a map from CT to MR is one that patients and images allow: what no error at landmarks can tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.linalg import polar

from spinefuse_ext.registration import alternatives
from spinefuse_ext.registration.alternatives import Alternative
from spinefuse_ext.registration.case_inputs import Start
from spinefuse_ext.registration.correction import turn_deg
from spinefuse_ext.registration.edge_alignment import Agreement, EdgeAlignment
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.image_box import outside_sentence, part_inside
from spinefuse_ext.registration.linear import LinearMap

Points = NDArray[np.float64]

#: The direction in which every map and every transform file is read and written.
DIRECTION = "from CT (fixed) to MR (moving) points, the direction in which the MR is resampled"

#: Patients lie alike in both scanners, so that a fit turns by few degrees; RAS follows the patient, not the table.
_MOST_DEG = 45.0
_SCALES = (0.8, 1.25)
_LEAST_OVERLAP = 0.1
#: Alternatives within this part of the best one's edge alignment are named too: the images cannot choose among them.
_AS_GOOD = 0.8
_MOST_NAMED = 3


@dataclass(frozen=True)
class Pose:
    """Figures of a map from CT to MR, what is doubtful about it, and other readings that explain it better."""

    turn_deg: float
    scales: tuple[float, float]
    ct_inside_mr: float
    mr_inside_ct: float
    doubts: tuple[str, ...] = ()
    compared: tuple[tuple[Alternative, Agreement | None], ...] = field(default=(), repr=False)

    @property
    def better(self) -> tuple[Alternative, ...]:
        """The readings that explain the images or the places of the points better than the given one."""
        return tuple(alternative for alternative, agreement in self.compared if _explains(alternative, agreement))

    @property
    def others(self) -> tuple[Alternative, ...]:
        """All other readings that were looked at."""
        return tuple(alternative for alternative, _ in self.compared)

    def direction(self) -> str:
        """Say in which direction a transform was taken, and how the images agree with it and with its inverse."""
        inverse = [agreement for other, agreement in self.compared if other.kind == "inverse" and agreement]
        figures = f"; inverted, it gives {inverse[0].figures()}" if inverse else ""
        return f"Direction of the transform: taken {DIRECTION}{figures}."

    def to_dict(self) -> dict[str, Any]:
        """Return every number for JSON."""
        return {
            "turn_deg": self.turn_deg,
            "scales": list(self.scales),
            "ct_inside_mr": self.ct_inside_mr,
            "mr_inside_ct": self.mr_inside_ct,
            "alternatives": [
                {
                    "kind": alternative.kind,
                    "if": alternative.condition,
                    "explains_better": _explains(alternative, agreement),
                    **({} if agreement is None else agreement._asdict()),
                }
                for alternative, agreement in self.compared
            ],
        }


def examine(ct: MetaTensor, mr: MetaTensor, start: Start, fit: RegistrationFit) -> Pose:
    """Return the pose of ``fit`` between CT and MR ``(1, X, Y, Z)``, with a sentence for everything doubtful.

    A bending map is judged by the rigid one closest to it. Where only headers are given, there is no other reading.
    """
    whole = LinearMap(fit.matrix)
    rotation, stretch = polar(fit.matrix[:3, :3])
    sizes = np.linalg.eigvalsh(stretch)
    pose = Pose(
        turn_deg=turn_deg(LinearMap(rotation)),
        scales=(float(sizes[0]), float(sizes[-1])),
        ct_inside_mr=part_inside(ct, mr, fit.mapping),
        mr_inside_ct=part_inside(mr, ct, LinearMap(np.asarray(np.linalg.inv(fit.matrix), dtype=np.float64))),
    )
    compared = tuple(_compare(_alternatives(ct, mr, start, fit), whole, ct, mr))
    doubts = [*_points_outside(ct, mr, start), *_implausible(pose), *_explained(compared)]
    return replace(pose, doubts=tuple(doubts), compared=compared)


def _alternatives(ct: MetaTensor, mr: MetaTensor, start: Start, fit: RegistrationFit) -> Iterable[Alternative]:
    if start.points is not None:
        lists = start.points if start.lists is None else start.lists
        of_levels = alternatives.of_levels(start.points, lists, fit.matrix)
        return (*alternatives.of_points(start.points, start.paths, (ct, mr)), *of_levels)
    return () if start.transform is None else alternatives.of_transform(fit.matrix)


def _compare(
    others: Iterable[Alternative], given: LinearMap, ct: MetaTensor, mr: MetaTensor
) -> Iterable[tuple[Alternative, Agreement | None]]:
    alignment = None
    for alternative in others:
        alignment = EdgeAlignment(ct, mr) if alignment is None else alignment
        yield alternative, alignment.compare(given, alternative.mapping)


def _explains(alternative: Alternative, agreement: Agreement | None) -> bool:
    if agreement is None:
        return alternative.placed
    return agreement.other_is_better or (alternative.placed and not agreement.given_is_better)


def _points_outside(ct: MetaTensor, mr: MetaTensor, start: Start) -> list[str]:
    if start.points is None:
        return []
    lists = zip(start.points, (ct, mr), start.paths, strict=True)
    return [sentence for each in lists if (sentence := outside_sentence(*each))]


def _implausible(pose: Pose) -> Iterable[str]:
    if pose.turn_deg > _MOST_DEG:
        yield (
            f"The map turns the MR by {pose.turn_deg:.0f} degrees against the CT, but a patient lies alike in both "
            f"scanners and more than {_MOST_DEG:.0f} is hardly ever right; check the coordinate system (RAS or LPS) of "
            "the landmark files or the transform, and which points carry which names."
        )
    low, high = pose.scales
    if low < _SCALES[0] or high > _SCALES[1]:
        yield (
            f"The map stretches the patient by factors of {low:.2f} to {high:.2f}, but a body keeps its size; check "
            "the units and the voxel sizes of both images."
        )
    overlap = max(pose.ct_inside_mr, pose.mr_inside_ct)
    if 0 < overlap < _LEAST_OVERLAP:
        yield (
            f"CT and MR hardly overlap after registration ({pose.ct_inside_mr:.0%} of the CT lies in the MR, "
            f"{pose.mr_inside_ct:.0%} of the MR in the CT); check that the landmarks or the transform belong to these "
            "images."
        )


def _explained(compared: tuple[tuple[Alternative, Agreement | None], ...]) -> list[str]:
    """One sentence about the readings that explain more, the best first; with those that images cannot tell apart."""
    found = sorted(
        ((alternative, agreement) for alternative, agreement in compared if _explains(alternative, agreement)),
        key=lambda each: -1.0 if each[1] is None else -each[1].other,
    )
    if not found:
        return []
    best = found[0][1]
    if best is not None:
        found = [each for each in found if each[1] is not None and each[1].other >= _AS_GOOD * best.other]
    said = []
    first: dict[str, tuple[Alternative, Agreement | None]] = {}
    for each in found:
        first.setdefault(each[0].condition, each)
    for alternative, agreement in list(first.values())[:_MOST_NAMED]:
        placed = ["all points lie inside their images"] if alternative.placed else []
        better = [f"the images agree better: {agreement.figures()}"] if agreement and agreement.other_is_better else []
        said.append(f"if {alternative.condition}, {' and '.join([*placed, *better])}")
    return [f"Something was probably meant otherwise: {'; or '.join(said)}. Correct that file and register again."]
