"""The rigid correction of a registration with the largest mutual information, inside bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import itk
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from spinefuse_ext.registration.landmarks import RAS_LPS
from spinefuse_ext.registration.linear import LinearMap

Points = NDArray[np.float64]

_BINS = 40
_FINISHED, _MOST_STEPS = 1e-6, 60  # change of mutual information (nats) that ends a level, and steps of a level


class Limits(NamedTuple):
    """How far a correction may go: length of the shift of the region's centre in mm, and angle in degrees."""

    shift_mm: float = 5.0
    turn_deg: float = 5.0


class Level(NamedTuple):
    """Both images smoothed alike (scalar float ITK images, LPS) and where they are compared, ``(N, 3)`` RAS mm."""

    fixed: Any
    moving: Any
    points: Points


class Found(NamedTuple):
    """The correction in fixed (CT) space, its shift of the centre in mm, and the mutual information in nats.

    ``lost`` is the part (0 to 1) of the points inside the moving image that the correction takes out of it.
    """

    correction: LinearMap
    shift_mm: float
    before: float
    after: float
    lost: float


def maximise(levels: list[Level], start: Any, limits: Limits) -> Found:
    """Return the rigid correction x -> C(x) for which the moving image at ``start(C(x))`` shares most with the fixed.

    Mattes mutual information of ITK (Mattes et al., IEEE TMI 2003) at the points of each level, coarse to fine,
    maximised by sequential quadratic programming (SciPy's SLSQP) with the shift and the angle held inside balls. Both
    measures are those of the last level. One thread, so that the same input gives the same result bit for bit.

    Args:
        levels: From coarse to fine.
        start: ITK transform (LPS) from fixed to moving space.
        limits: Radii of both balls.
    """
    points = levels[-1].points
    centre = points.mean(0)
    lever = float(np.sqrt(((points - centre) ** 2).sum(1).mean()))  # makes a turn as long as a shift
    bounds = _balls(lever * np.deg2rad(limits.turn_deg), limits.shift_mm)
    place, options = np.zeros(6), {"ftol": _FINISHED, "maxiter": _MOST_STEPS}
    for level in levels:
        measure = _Measure(level, start, centre, lever)
        place = minimize(measure, place, jac=True, method="SLSQP", constraints=bounds, options=options).x
    before, inside = -measure(np.zeros(6))[0], measure.points_inside
    after = -measure(place)[0]
    lost = 1 - measure.points_inside / max(inside, 1)
    return Found(measure.correction(), float(np.linalg.norm(place[3:])), before, after, lost)


class _Measure:
    """Negative mutual information and its gradient at six numbers, all in mm: turns times ``lever``, then shifts."""

    def __init__(self, level: Level, start: Any, centre: Points, lever: float) -> None:
        self._lever, self._kept = lever, (level, start)
        self._turn = itk.Euler3DTransform[itk.D].New()
        self._turn.SetIdentity()
        self._turn.SetCenter((centre * RAS_LPS).tolist())
        whole = itk.CompositeTransform[itk.D, 3].New()
        whole.AddTransform(start)
        whole.AddTransform(self._turn)  # the last one is applied first
        whole.SetOnlyMostRecentTransformToOptimizeOn()
        kind = type(level.fixed)
        self._metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New()
        self._metric.SetNumberOfHistogramBins(_BINS)
        self._metric.SetMaximumNumberOfWorkUnits(1)
        self._metric.SetUseMovingImageGradientFilter(False)
        self._metric.SetUseFixedImageGradientFilter(False)
        self._metric.SetFixedImage(level.fixed)
        self._metric.SetMovingImage(level.moving)
        self._metric.SetMovingTransform(whole)
        self._metric.SetVirtualDomainFromImage(level.fixed)
        self._metric.SetFixedSampledPointSet(_point_set(level.points))
        self._metric.SetUseSampledPointSet(True)
        self._metric.Initialize()

    def __call__(self, place: Points) -> tuple[float, Points]:
        numbers = itk.OptimizerParameters[itk.D](6)
        for row, value in enumerate([*(place[:3] / self._lever), *place[3:]]):
            numbers.SetElement(row, float(value))
        self._turn.SetParameters(numbers)
        downhill = itk.Array[itk.D](6)
        downhill.Fill(0.0)
        try:
            self._metric.GetDerivative(downhill)
        except RuntimeError:  # no point lies inside the moving image: nothing is shared
            return 0.0, np.zeros(6)
        uphill = -np.array([downhill.GetElement(row) for row in range(6)])
        uphill[:3] /= self._lever
        return float(self._metric.GetCurrentValue()), uphill

    @property
    def points_inside(self) -> int:
        """How many points lay inside the moving image when last measured."""
        return int(self._metric.GetNumberOfValidPoints())

    def correction(self) -> LinearMap:
        """The correction last measured, as a matrix in RAS."""
        matrix = np.eye(4)
        matrix[:3, :3] = itk.array_from_matrix(self._turn.GetMatrix()) * np.outer(RAS_LPS, RAS_LPS)
        matrix[:3, 3] = np.array(list(self._turn.GetOffset())) * RAS_LPS
        return LinearMap(matrix)


def _point_set(points: Points) -> Any:
    chosen = itk.PointSet[itk.F, 3].New()
    for row, point in enumerate((points * RAS_LPS).tolist()):
        chosen.SetPoint(row, point)
    return chosen


def _balls(turn: float, shift: float) -> list[dict[str, Any]]:
    """Constraints that hold the first three numbers within the radius ``turn``, the last three within ``shift``."""

    def ball(part: slice, radius: float) -> dict[str, Any]:
        def slope(place: Points) -> Points:
            uphill = np.zeros(6)
            uphill[part] = -2 * place[part] / radius**2
            return uphill

        return {"type": "ineq", "fun": lambda place: 1 - (place[part] ** 2).sum() / radius**2, "jac": slope}

    return [ball(slice(0, 3), turn), ball(slice(3, 6), shift)]
