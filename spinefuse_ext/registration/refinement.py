"""A registration improved by the images themselves, in small bounds, and kept only where something confirms it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.registration.comparison_region import Region, compare_where
from spinefuse_ext.registration.correction import corrected, turn_deg
from spinefuse_ext.registration.edge_overlap import edge_overlap
from spinefuse_ext.registration.fit import FittedPairs, RegistrationFit
from spinefuse_ext.registration.leave_one_out import distances_mm
from spinefuse_ext.registration.linear import LinearMap, to_itk
from spinefuse_ext.registration.models import PointMap, obstacle
from spinefuse_ext.registration.mutual_information import Found, Limits, maximise
from spinefuse_ext.registration.transform_file import map_on
from spinefuse_ext.validation import SpinefuseError

logger = logging.getLogger(__name__)
Points = NDArray[np.float64]

#: Without landmarks, a smaller correction is none: in MR, fat lies beside its place by about a voxel (chemical shift),
#: which moves the edges of vertebrae as much.
LEAST_MM = 1.0
_AT_LIMIT = 0.98
_MOST_LOST = 0.2
_MOST_GROUPS = 8
_WIDEST_MM = 150.0  # half a field of view, for the room that a turn needs
_FIELD_SPACING_MM = 3.0


@dataclass(frozen=True)
class Refinement:
    """What the images proposed, and whether it was kept.

    ``correction_ras`` is the rigid motion ``(4, 4)`` inside CT space that goes before the fitted map; ``shift_mm`` is
    its shift of the middle of the region compared, ``moved_mm`` and ``moved_largest_mm`` how far it moves the points of
    that region on average and the corners of its box at most. Mutual information is in nats. ``tre_*`` are means over
    held-out landmarks (mm), None without.
    """

    kept: bool
    reason: str
    correction_ras: list[list[float]]
    shift_mm: float
    turn_deg: float
    moved_mm: float
    moved_largest_mm: float
    mutual_information_before: float
    mutual_information_after: float
    edge_overlap_before: float
    edge_overlap_after: float
    tre_before_mm: float | None
    tre_after_mm: float | None
    limit_mm: float
    limit_deg: float
    seed: int

    def sentence(self) -> str:
        """Say in one line what was found and what became of it."""
        judged = f"edge overlap {self.edge_overlap_before:.3f} to {self.edge_overlap_after:.3f}"
        if self.tre_before_mm is not None:
            judged = f"held-out TRE {self.tre_before_mm:.2f} to {self.tre_after_mm:.2f} mm, {judged}"
        return (
            f"Refinement {'kept' if self.kept else 'not kept'}: {self.reason}. It moves the region by "
            f"{self.moved_mm:.2f} mm on average, {self.moved_largest_mm:.2f} mm at most, and turns it by "
            f"{self.turn_deg:.2f} degrees; mutual information {self.mutual_information_before:.3f} to "
            f"{self.mutual_information_after:.3f}, {judged}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return every number for JSON."""
        return asdict(self)


class _Search:
    """Finds the correction of any map over one region."""

    def __init__(self, region: Region, limits: Limits) -> None:
        self.region, self.limits, self._levels = region, limits, region.levels()

    def __call__(self, mapping: PointMap) -> Found:
        return maximise(self._levels, map_on(mapping, self.region.fixed.grid, _FIELD_SPACING_MM), self.limits)


def refine(
    fit: RegistrationFit, ct: MetaTensor, mr: MetaTensor, limits: Limits | None = None, *, seed: int = 0
) -> tuple[RegistrationFit, Refinement]:
    """Return the fit after the rigid correction with the largest mutual information, or as it was; and the figures.

    The correction is kept if the mutual information rises, no limit is reached, and: with landmarks, the mean error at
    landmarks that neither the fit nor its correction saw does not rise (each of at most 8 groups in turn is left out,
    and the fit to the others refined anew); without landmarks, the overlap of edges does not fall and the region moves
    by 1 mm or more. ``fre_mm`` and ``tre_mm`` of a kept fit are those of the corrected map.

    Args:
        fit: Map from CT to MR, of landmarks or not.
        ct: Fixed image ``(1, X, Y, Z)``.
        mr: Moving image ``(1, X, Y, Z)``.
        limits: How far the correction may go; by default 5 mm and 5 degrees.
        seed: Seed of the points at which the images are compared.

    Raises:
        SpinefuseError: A limit is not above 0 (or the angle above 45 degrees), or the images share too little tissue.
    """
    limits = Limits() if limits is None else limits
    _check(limits)
    margin = limits.shift_mm + np.deg2rad(limits.turn_deg) * _WIDEST_MM
    around = None if fit.pairs is None else fit.pairs.fixed
    region = compare_where(ct, mr, fit.mapping, around, margin_mm=margin, seed=seed)
    search, groups = _Search(region, limits), _groups(fit.pairs, seed)
    with progress_bar(total=1 + len(groups), title="Refining", unit="fit", delay=2) as progress:
        found = search(fit.mapping)
        progress.update()
        errors = _held_out(fit, groups, search, progress)
    refined = _refined(fit, found.correction, errors[1])
    figures = _figures(fit.mapping, refined.mapping, found, region, errors)
    refusal = _refusal(figures, found, limits)
    outcome = Refinement(
        kept=refusal is None,
        reason=refusal or _confirmation(figures),
        correction_ras=found.correction.matrix.tolist(),
        limit_mm=limits.shift_mm,
        limit_deg=limits.turn_deg,
        seed=seed,
        **figures,
    )
    logger.info("%s", outcome.sentence())
    return (refined if outcome.kept else fit), outcome


def _check(limits: Limits) -> None:
    if not (limits.shift_mm > 0 and 0 < limits.turn_deg <= 45):
        raise SpinefuseError(
            f"Expected limits of a refinement above 0 mm and from 0 to 45 degrees, got {limits.shift_mm} mm and "
            f"{limits.turn_deg} degrees; 5 and 5 are usual."
        )


def _groups(pairs: FittedPairs | None, seed: int) -> list[NDArray[np.int64]]:
    """Deal the landmarks into groups to leave out: each alone, or 8 groups where there are more."""
    if pairs is None:
        return []
    order = np.random.default_rng(seed).permutation(len(pairs.fixed))
    parts = np.array_split(order, min(len(order), _MOST_GROUPS))
    others = [np.setdiff1d(order, part) for part in parts]
    usable = [obstacle(pairs.model, pairs.fixed[rows], pairs.moving[rows]) is None for rows in others]
    return [part for part, usable_part in zip(parts, usable, strict=True) if usable_part]


def _held_out(
    fit: RegistrationFit, groups: list[NDArray[np.int64]], search: _Search, progress: Any
) -> tuple[Points, Points]:
    """Return the error at each landmark left out, before and after refining the fit to the others; NaN if unknown."""
    before, after = np.full((2, len(fit.names)), np.nan)
    if fit.pairs is None:
        return before, after
    fixed, moving, _, estimate = fit.pairs
    for left_out in groups:
        mapping = estimate(np.setdiff1d(np.arange(len(fixed)), left_out))
        refined = corrected(mapping, search(mapping).correction)
        before[left_out], after[left_out] = (
            distances_mm(each, fixed[left_out], moving[left_out]) for each in (mapping, refined)
        )
        progress.update()
    return before, after


def _refined(fit: RegistrationFit, correction: LinearMap, errors: Points) -> RegistrationFit:
    mapping = corrected(fit.mapping, correction)
    return replace(
        fit,
        mapping=mapping,
        matrix=fit.matrix @ correction.matrix,
        transform=to_itk(mapping.matrix) if isinstance(mapping, LinearMap) else fit.transform,
        fre_mm=fit.fre_mm if fit.pairs is None else distances_mm(mapping, fit.pairs.fixed, fit.pairs.moving),
        tre_mm=errors,
    )


def _figures(
    mapping: PointMap, refined: PointMap, found: Found, region: Region, errors: tuple[Points, Points]
) -> dict[str, Any]:
    low, high = region.points.min(0), region.points.max(0)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    edges = edge_overlap(region, mapping, refined)
    measured = bool(np.isfinite(errors[0]).any())
    return {
        "shift_mm": found.shift_mm,
        "turn_deg": turn_deg(found.correction),
        "moved_mm": float(distances_mm(found.correction, region.points, region.points).mean()),
        "moved_largest_mm": float(distances_mm(found.correction, corners, corners).max()),
        "mutual_information_before": found.before,
        "mutual_information_after": found.after,
        "edge_overlap_before": edges[0],
        "edge_overlap_after": edges[1],
        "tre_before_mm": float(np.nanmean(errors[0])) if measured else None,
        "tre_after_mm": float(np.nanmean(errors[1])) if measured else None,
    }


def _refusal(figures: dict[str, Any], found: Found, limits: Limits) -> str | None:
    """Say why the correction must not be kept, None if it may."""
    if found.after <= found.before:
        return "the mutual information did not rise"
    if found.shift_mm > _AT_LIMIT * limits.shift_mm or figures["turn_deg"] > _AT_LIMIT * limits.turn_deg:
        return (
            f"it ran into the limit of {limits.shift_mm:g} mm or {limits.turn_deg:g} degrees, so no optimum is near "
            "(raise --refine_mm or --refine_deg if the start may be that far off)"
        )
    if found.lost > _MOST_LOST:
        return f"{found.lost:.0%} of the points compared left the MR, and mutual information counts only the others"
    if figures["tre_before_mm"] is not None:
        worse = figures["tre_after_mm"] > figures["tre_before_mm"]
        return "the error at held-out landmarks got larger" if worse else None
    if figures["moved_mm"] < LEAST_MM:
        return f"less than {LEAST_MM:g} mm cannot be told from the chemical shift of fat without held-out landmarks"
    worse = figures["edge_overlap_after"] < figures["edge_overlap_before"]
    return "the edges of the images overlap less" if worse else None


def _confirmation(figures: dict[str, Any]) -> str:
    if figures["tre_before_mm"] is None:
        return "the edges of the images overlap no less"
    return "the error at held-out landmarks got no larger"
