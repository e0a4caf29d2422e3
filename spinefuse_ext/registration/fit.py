"""The fit of a registration: the map that brings matched points together, or that a file or the headers give."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.names import listed
from spinefuse_ext.registration.correction import CorrectedMap
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.leave_one_out import distances_mm, leave_one_out
from spinefuse_ext.registration.linear import LinearMap, fit_rigid, to_itk
from spinefuse_ext.registration.list_doubts import list_doubts
from spinefuse_ext.registration.models import Estimator, Model, PointMap, estimator, fewest_points, obstacle
from spinefuse_ext.registration.name_matching import Matched, match_landmarks
from spinefuse_ext.registration.per_vertebra import PerVertebraMap
from spinefuse_ext.registration.suspects import Suspect, find_suspects
from spinefuse_ext.registration.vertebrae import Vertebrae, vertebrae_from_names
from spinefuse_ext.validation import LandmarkError

Points = NDArray[np.float64]

#: ``RegistrationFit.model`` where nothing was fitted.
HEADERS = "headers"
_REMEDY = {
    "lie on one line": "so the rotation about it is open; add a point beside that line, for example on a spinous or "
    "transverse process",
    "lie in one plane": "so the stretch across it is open; add a point beside that plane, for example on a transverse "
    "process",
    "lie on each other": "so a spline through all of them is not defined; remove one of the two that are equal",
}


class FittedPairs(NamedTuple):
    """The ``(N, 3)`` landmarks (RAS mm) behind a fit, and what fits the model to some of them."""

    fixed: Points
    moving: Points
    model: Model
    estimate: Estimator


@dataclass(frozen=True)
class RegistrationFit:
    """A map from fixed to moving space, by landmarks, a transform file or the headers, and its errors in mm.

    ``mapping`` takes ``(N, 3)`` fixed (CT) to moving (MR) points, RAS mm: the direction in which images are resampled.
    Of a linear model ``transform`` is the same map as an ITK transform (LPS) and ``matrix`` as 4 x 4 in RAS; of the
    others ``transform`` is None (``transform_on`` makes one on a grid) and ``matrix`` is the rigid fit alone.
    ``fre_mm`` is ``(N,)``, the distance that remains at each fitted point. ``tre_mm`` is ``(N,)``, the distance at each
    point when the model is fitted without it (leave-one-out); NaN where the other points cannot carry a fit, for the
    reason in ``tre_reasons``. ``suspects`` are landmarks that were probably set wrongly, ``doubts`` sentences about
    names, lists and the pose. ``left_out`` are names that only the CT or only the MR list has. ``pairs`` is what the
    fit was made from, None without landmarks.
    """

    model: str
    transform: Any
    matrix: Points
    names: tuple[str, ...]
    fre_mm: Points
    tre_mm: Points
    mapping: PointMap
    tre_reasons: tuple[str | None, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    doubts: tuple[str, ...] = ()
    left_out: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    pairs: FittedPairs | None = field(default=None, repr=False, compare=False)

    @property
    def is_linear(self) -> bool:
        """Whether ``matrix`` is the whole map."""
        return isinstance(self.mapping, LinearMap)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence per suspect, and the doubts."""
        return (*(suspect.sentence() for suspect in self.suspects), *self.doubts)

    @property
    def fre_rms_mm(self) -> float:
        """Root of the mean squared ``fre_mm``; NaN without landmarks."""
        return float(np.sqrt(np.mean(self.fre_mm**2))) if self.names else float("nan")

    @property
    def tre_mean_mm(self) -> float:
        """Mean of the leave-one-out errors that could be measured; NaN when none could."""
        measured = self.tre_mm[np.isfinite(self.tre_mm)]
        return float(measured.mean()) if measured.size else float("nan")

    @property
    def worst(self) -> str | None:
        """Name of the point with the largest leave-one-out error, or FRE when none could be measured."""
        errors = self.tre_mm if np.isfinite(self.tre_mm).any() else self.fre_mm
        return self.names[int(np.nanargmax(errors))] if self.names else None

    def summary(self) -> str:
        """Return a table of the errors per point, with the worst one marked, the overall figures and the warnings."""
        if not self.names:
            source = "the image headers are" if self.model == HEADERS else "a transform file is"
            return "\n".join([f"No landmarks: {source} trusted, errors are not known.", *self._warnings()])
        width = max(map(len, (*self.names, "point")))
        lines = [f"{'point':{width}}  FRE mm  TRE mm (leave-one-out)"]
        for name, fre, tre in zip(self.names, self.fre_mm, self.tre_mm, strict=True):
            shown = f"{tre:6.2f}" if np.isfinite(tre) else "     -"
            lines.append(f"{name:{width}}  {fre:6.2f}  {shown}{'  <- worst' if name == self.worst else ''}")
        lines.append(f"{self.model} fit on {len(self.names)} points: FRE {self.fre_rms_mm:.2f} mm (root mean square)")
        if np.isfinite(self.tre_mm).any():
            lines[-1] += f", leave-one-out TRE {self.tre_mean_mm:.2f} mm (mean), worst point {self.worst}"
        reasons = sorted({reason for reason in self.tre_reasons if reason})
        if reasons:
            lines.append(f"Leave-one-out TRE is not measurable where {' or '.join(reasons)}.")
        return "\n".join([*lines, *self._warnings()])

    def _warnings(self) -> list[str]:
        return [f"Warning: {warning}" for warning in self.warnings]

    def to_dict(self) -> dict[str, Any]:
        """Return every number for JSON; what could not be measured is None."""
        reasons = self.tre_reasons or (None,) * len(self.names)
        points = {
            name: {"fre_mm": _number(fre), "tre_mm": _number(tre), **({"tre_missing": reason} if reason else {})}
            for name, fre, tre, reason in zip(self.names, self.fre_mm, self.tre_mm, reasons, strict=True)
        }
        return {
            "model": self.model,
            "is_linear": self.is_linear,
            "matrix_ras_fixed_to_moving": self.matrix.tolist(),
            **_vertebra_matrices(self.mapping),
            "fre_rms_mm": _number(self.fre_rms_mm),
            "tre_mean_mm": _number(self.tre_mean_mm),
            "worst": self.worst,
            "points": points,
            "left_out": {"ct": list(self.left_out[0]), "mr": list(self.left_out[1])},
            "suspects": [suspect._asdict() for suspect in self.suspects],
            "warnings": list(self.warnings),
        }


def fit_landmarks(
    fixed: Landmarks, moving: Landmarks, model: str = "rigid", *, vertebrae: Vertebrae | None = None
) -> RegistrationFit:
    """Fit the map from ``fixed`` to ``moving`` points of the same names; names that only one list has are left out.

    Args:
        fixed: Points in the space whose grid is kept (CT).
        moving: Points in the space that is brought there (MR), in any order.
        model: "rigid", "similarity" or "affine" (least squares), "thin_plate" (a spline through every point) or
            "per_vertebra" (each vertebra rigid, smooth in between).
        vertebrae: For "per_vertebra", which point lies on which bone; by default the names tell.

    Raises:
        LandmarkError: Too few names are in both lists, the points are too flat for the model, an affine map mirrors, a
            name tells no vertebra; or there is no such model.
    """
    chosen = _model(model)
    matched = match_landmarks(fixed, moving)
    _check_count(matched, chosen)
    if vertebrae is not None:
        rows = [fixed.names.index(name) for name in matched.fixed.names]
        vertebrae = replace(vertebrae, owner=vertebrae.owner[rows])
    fixed, target = matched.fixed, matched.moving.points_mm
    for role, points in (("fixed (CT)", fixed.points_mm), ("moving (MR)", target)):
        reason = obstacle(chosen, points)
        if reason:
            raise LandmarkError(f"The {role} landmarks {listed(fixed.names)} {reason}, {_REMEDY[reason]}.")
    if chosen is Model.PER_VERTEBRA and vertebrae is None:
        vertebrae = vertebrae_from_names(fixed)
    estimate = estimator(chosen, fixed.points_mm, target, vertebrae)
    mapping = estimate(np.arange(len(target)))
    _check_mirror(mapping)
    errors, reasons = leave_one_out(chosen, fixed.points_mm, target, estimate)
    matrix = mapping.matrix if isinstance(mapping, LinearMap) else fit_rigid(fixed.points_mm, target).matrix
    return RegistrationFit(
        model=chosen.value,
        transform=to_itk(matrix) if isinstance(mapping, LinearMap) else None,
        matrix=matrix,
        names=fixed.names,
        fre_mm=distances_mm(mapping, fixed.points_mm, target),
        tre_mm=errors,
        mapping=mapping,
        tre_reasons=reasons,
        suspects=find_suspects(fixed.names, fixed.points_mm, target, chosen, vertebrae),
        doubts=(*matched.sentences, *list_doubts(fixed.names, fixed.points_mm, target)),
        left_out=(matched.only_fixed, matched.only_moving),
        pairs=FittedPairs(fixed.points_mm, target, chosen, estimate),
    )


def trust_headers() -> RegistrationFit:
    """Return the identity, for images whose headers already share one patient space; it carries no errors."""
    return RegistrationFit(HEADERS, to_itk(np.eye(4)), np.eye(4), (), np.empty(0), np.empty(0), LinearMap(np.eye(4)))


def _model(name: str) -> Model:
    if name not in list(Model):
        raise LandmarkError(
            f"Expected a registration model out of {', '.join(Model)}, got {name}; choose one of these."
        )
    return Model(name)


def _check_count(matched: Matched, model: Model) -> None:
    needed, names = fewest_points(model), matched.fixed.names
    if len(names) >= needed:
        return
    alone = ""
    if matched.only_fixed or matched.only_moving:
        alone = (
            f"; only in the fixed (CT) list: {listed(matched.only_fixed)}; only in the moving (MR) list: "
            f"{listed(matched.only_moving)}"
        )
    raise LandmarkError(
        f"Expected at least {needed} landmark pairs for the model {model.value}, got {len(names)} "
        f"({listed(names)}){alone}; landmarks are matched by name, so place more points or rename them alike in Slicer."
    )


def _check_mirror(mapping: PointMap) -> None:
    if isinstance(mapping, LinearMap) and np.linalg.det(mapping.matrix) < 0:
        raise LandmarkError(
            "The landmarks fit an affine map that mirrors the patient (negative determinant), which no movement does; "
            "check the signs of the coordinates and left and right in the names, or use the model rigid."
        )


def _vertebra_matrices(mapping: PointMap) -> dict[str, Any]:
    bones, before = (
        (mapping.map, mapping.correction.matrix) if isinstance(mapping, CorrectedMap) else (mapping, np.eye(4))
    )
    if not isinstance(bones, PerVertebraMap):
        return {}
    matrices = zip(bones.vertebrae.names, (bones.matrices @ before).tolist(), strict=True)
    return {"vertebra_matrices_ras_fixed_to_moving": dict(matrices)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
