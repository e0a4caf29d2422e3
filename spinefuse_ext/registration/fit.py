"""Landmark registration: the transform that brings matched points together, and how well it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.registration.landmarks import RAS_LPS, Landmarks
from spinefuse_ext.validation import LandmarkError

Points = NDArray[np.float64]

#: Points closer to one line than this part of their spread leave the rotation about that line open.
_LINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class LandmarkFit:
    """A transform from fixed to moving space, and its errors in mm.

    ``transform`` is an ITK transform that maps fixed (CT) points to moving (MR) points in LPS: the direction in which
    images are resampled. ``matrix`` is the same map as 4 x 4 in RAS. ``fre_mm`` is ``(N,)``, the distance that remains
    at each fitted point. ``tre_mm`` is ``(N,)``, the distance at each point when the transform is fitted without it
    (leave-one-out); NaN where the other points cannot carry a fit, as always with exactly 3 points.
    """

    model: str
    transform: Any
    matrix: Points
    names: tuple[str, ...]
    fre_mm: Points
    tre_mm: Points

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
        """Return a table of the errors per point, with the worst one marked, and the overall figures."""
        if not self.names:
            return "No landmarks: the image headers are trusted, errors are not known."
        width = max(map(len, (*self.names, "point")))
        lines = [f"{'point':{width}}  FRE mm  TRE mm (leave-one-out)"]
        for name, fre, tre in zip(self.names, self.fre_mm, self.tre_mm, strict=True):
            shown = f"{tre:6.2f}" if np.isfinite(tre) else "     -"
            lines.append(f"{name:{width}}  {fre:6.2f}  {shown}{'  <- worst' if name == self.worst else ''}")
        lines.append(f"{self.model} fit on {len(self.names)} points: FRE {self.fre_rms_mm:.2f} mm (root mean square)")
        if np.isfinite(self.tre_mm).any():
            lines[-1] += f", leave-one-out TRE {self.tre_mean_mm:.2f} mm (mean), worst point {self.worst}"
        if not np.isfinite(self.tre_mm).all():
            lines.append("Leave-one-out TRE is not measurable where the other points are fewer than 3 or on one line.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return every number for JSON; what could not be measured is None."""
        points = {
            name: {"fre_mm": _number(fre), "tre_mm": _number(tre)}
            for name, fre, tre in zip(self.names, self.fre_mm, self.tre_mm, strict=True)
        }
        return {
            "model": self.model,
            "matrix_ras_fixed_to_moving": self.matrix.tolist(),
            "fre_rms_mm": _number(self.fre_rms_mm),
            "tre_mean_mm": _number(self.tre_mean_mm),
            "worst": self.worst,
            "points": points,
        }


def fit_landmarks(fixed: Landmarks, moving: Landmarks, model: str = "rigid") -> LandmarkFit:
    """Fit the map from ``fixed`` to ``moving`` points of the same names (least squares; Horn, JOSA A 1987).

    Args:
        fixed: Points in the space whose grid is kept (CT).
        moving: Points in the space that is brought there (MR), in any order.
        model: "rigid" (rotation and translation).

    Raises:
        LandmarkError: The names differ, fewer than 3 points, or all points lie on one line; or there is no such model.
    """
    if model not in MODELS:
        raise LandmarkError(
            f"Expected a registration model out of {', '.join(MODELS)}, got {model}; choose one of these."
        )
    _check_names(fixed, moving)
    target = moving.points_mm[[moving.names.index(name) for name in fixed.names]]
    for role, points in (("fixed (CT)", fixed.points_mm), ("moving (MR)", target)):
        if not _spans_plane(points):
            raise LandmarkError(
                f"The {role} landmarks {_listed(fixed.names)} lie on one line, so the rotation about it is open; "
                "add a point beside that line, for example on a spinous or transverse process."
            )
    transform = MODELS[model](fixed.points_mm, target)
    return LandmarkFit(
        model=model,
        transform=transform,
        matrix=_ras_matrix(transform),
        names=fixed.names,
        fre_mm=_distances(transform, fixed.points_mm, target),
        tre_mm=_leave_one_out(fixed.points_mm, target, MODELS[model]),
    )


def trust_headers() -> LandmarkFit:
    """Return the identity, for images whose headers already share one patient space; it carries no errors."""
    transform = itk.AffineTransform[itk.D, 3].New()
    return LandmarkFit("headers", transform, np.eye(4), (), np.empty(0), np.empty(0))


def _rigid(fixed: Points, moving: Points) -> Any:
    """Return ITK's least-squares rotation and translation, ``(N, 3)`` RAS points -> LPS transform."""
    transform = itk.VersorRigid3DTransform[itk.D].New()
    initializer = itk.LandmarkBasedTransformInitializer[itk.Transform[itk.D, 3, 3]].New(Transform=transform)
    initializer.SetFixedLandmarks([itk.Point[itk.D, 3](point.tolist()) for point in fixed * RAS_LPS])
    initializer.SetMovingLandmarks([itk.Point[itk.D, 3](point.tolist()) for point in moving * RAS_LPS])
    initializer.InitializeTransform()
    return transform


#: Registration models by name.
MODELS: dict[str, Callable[[Points, Points], Any]] = {"rigid": _rigid}


def _check_names(fixed: Landmarks, moving: Landmarks) -> None:
    only_fixed = [name for name in fixed.names if name not in moving.names]
    only_moving = [name for name in moving.names if name not in fixed.names]
    if only_fixed or only_moving:
        raise LandmarkError(
            f"Landmarks are matched by name, only in the fixed (CT) list: {_listed(only_fixed)}; "
            f"only in the moving (MR) list: {_listed(only_moving)}. Rename or remove them in Slicer."
        )
    if len(fixed.names) < 3:
        raise LandmarkError(
            f"Expected at least 3 landmark pairs, got {len(fixed.names)} ({_listed(fixed.names)}); place more points."
        )


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _spans_plane(points: Points) -> bool:
    """Say whether the points determine a rotation: at least 3, not all on one line."""
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return len(points) >= 3 and bool(spread[1] > _LINE_TOLERANCE * spread[0])


def _leave_one_out(fixed: Points, moving: Points, estimate: Callable[[Points, Points], Any]) -> Points:
    """Return per point its error under the transform fitted to all others; NaN where these cannot carry a fit."""
    errors = np.full(len(fixed), np.nan)
    for index in range(len(fixed)):
        others = np.arange(len(fixed)) != index
        if _spans_plane(fixed[others]) and _spans_plane(moving[others]):
            transform = estimate(fixed[others], moving[others])
            errors[index] = _distances(transform, fixed[~others], moving[~others])[0]
    return errors


def _distances(transform: Any, fixed: Points, moving: Points) -> Points:
    mapped = np.array([transform.TransformPoint(point.tolist()) for point in fixed * RAS_LPS])
    return np.asarray(np.linalg.norm(mapped - moving * RAS_LPS, axis=1), dtype=np.float64)


def _ras_matrix(transform: Any) -> Points:
    """Return a linear ITK transform (LPS) as ``(4, 4)`` in RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = itk.array_from_matrix(transform.GetMatrix()) * np.outer(RAS_LPS, RAS_LPS)
    matrix[:3, 3] = np.array(transform.GetOffset()) * RAS_LPS
    return matrix


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
