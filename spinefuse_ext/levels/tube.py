"""Bodies and discs as intervals along the centre line: what a tube around it meets from the head down."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from spinefuse_ext.levels.centre_line import CentreLine
from spinefuse_ext.levels.grid import Structures

Profile = NDArray[np.float64]

TUBE_MM = 8.0
_BONE, _DISC = 0.5, 0.25  # shares of the tube that make a body, a disc
_GAP_MM = 2.0  # a body has no narrower gap in it, unless a disc fills it
_LEAST_MM = 4.0
_LOW = 0.45  # of the usual height: a run of bone lower than this between others is a fragment, unless a disc lies on it
_LONG = 1.6  # of the usual height: a run of bone longer than this is several bodies
_APART = 0.55  # of the usual pitch: discs further apart have a level between them


@dataclass(frozen=True)
class Span:
    """One body or disc: its ends along the centre line, mm.

    ``shape_cut``: no disc and no gap bounds it; ``cut_off``: the edge of the image does.
    """

    start: float
    stop: float
    shape_cut: bool = False
    cut_off: bool = False

    @property
    def middle(self) -> float:
        return (self.start + self.stop) / 2

    @property
    def length(self) -> float:
        return self.stop - self.start


@dataclass(frozen=True)
class Profiles:
    """Shares (0 to 1) of the tube that are vertebra, disc and sacrum, at each mm of the centre line, ``(M,)``."""

    vertebra: Profile
    disc: Profile
    sacrum: Profile
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """Bodies and discs from the head down, and the upper end of the sacrum; ``dropped`` runs of bone were too low."""

    bodies: tuple[Span, ...]
    discs: tuple[Span, ...]
    sacrum: float | None
    dropped: int

    @property
    def pitch_mm(self) -> float:
        """The usual distance of neighbouring bodies."""
        return _pitch(self.bodies, self.discs)


def profiles(found: Structures, line: CentreLine) -> Profiles:
    """Measure what a tube of 8 mm about the line holds."""
    places = _tube(found, line)
    values = found.classes[tuple(places.T)]
    bins = np.clip(line.along(found.to_mm(places))[:, 0], 0, len(line.points_mm) - 1).astype(int)
    count = np.bincount(bins, minlength=len(line.points_mm)).astype(float)
    vertebra, disc, sacrum = (_shares(values == number, bins, count) for number in (1, 2, 4))
    return Profiles(vertebra, disc, sacrum, count > 0)


def column(found: Structures, line: CentreLine, shares: Profiles) -> Column:
    """Read bodies, discs and the sacrum off the profiles."""
    sacrum = _sacrum(shares)
    bone = (shares.vertebra > _BONE) & (shares.vertebra >= shares.disc) & (shares.vertebra > shares.sacrum)
    discs = _runs((shares.disc > _DISC) & (shares.disc > shares.vertebra))
    bodies = _joined(_runs(bone), shares.disc)
    bodies = [span for span in bodies if span.length >= _LEAST_MM]
    bodies = [replace(span, cut_off=_cut_off(span, found, line)) for span in _divided(bodies, shares)]
    bodies, dropped = _without_low(bodies, discs)
    discs = _one_a_gap(discs, bodies)
    return Column(tuple(bodies), tuple(discs), sacrum, dropped)


def _tube(found: Structures, line: CentreLine) -> NDArray[np.int64]:
    """Voxels within the tube, ``(N, 3)``."""
    box = np.indices(found.classes.shape).reshape(3, -1).T
    places = found.to_places(line.points_mm)
    low, high = places.min(0) - np.ceil(TUBE_MM / found.spacing_mm), places.max(0) + np.ceil(TUBE_MM / found.spacing_mm)
    box = box[((box >= low) & (box <= high)).all(axis=1)]
    far = cKDTree(line.points_mm).query(found.to_mm(box), distance_upper_bound=TUBE_MM + 0.5)[0]
    return np.asarray(box[far <= TUBE_MM])


def _shares(mask: NDArray[np.bool_], bins: NDArray[np.int64], count: Profile) -> Profile:
    total = ndimage.gaussian_filter1d(np.bincount(bins, mask, minlength=len(count)), 1.0, mode="nearest")
    return np.asarray(total / np.maximum(ndimage.gaussian_filter1d(count, 1.0, mode="nearest"), 1e-6))


def _runs(mask: NDArray[np.bool_]) -> list[Span]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [Span(float(start), float(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _sacrum(shares: Profiles) -> float | None:
    """Where the sacrum begins: the first long run of it."""
    runs = [span for span in _runs(shares.sacrum > 0.4) if span.length >= _LEAST_MM]
    return runs[0].start if runs else None


def _joined(runs: Sequence[Span], disc: Profile) -> list[Span]:
    """Runs of bone with the gaps between them closed that are too narrow for a joint and hold no disc."""
    joined: list[Span] = []
    for run in runs:
        if (
            joined
            and run.start - joined[-1].stop < _GAP_MM
            and disc[int(joined[-1].stop) : int(run.start)].max() < 0.15
        ):
            joined[-1] = replace(joined[-1], stop=run.stop)
        else:
            joined.append(run)
    return joined


def _usual(bodies: Sequence[Span]) -> float:
    """The usual height: the median of the runs that are not at the ends, of all where there are few."""
    inner = bodies[1:-1] if len(bodies) > 3 else bodies
    heights = [span.length for span in inner if span.length >= 8] or [span.length for span in bodies] or [1.0]
    return float(np.median(heights))


def _cut_off(span: Span, found: Structures, line: CentreLine) -> bool:
    return found.at_edge(line.at(span.start)) or found.at_edge(line.at(span.stop))


def _divided(bodies: Sequence[Span], shares: Profiles) -> list[Span]:
    """Runs that are too long for one body, cut where disc is met at all, else where bone is least."""
    usual = _usual(bodies)
    divided: list[Span] = []
    for body in bodies:
        parts = round(body.length / (1.2 * usual)) if body.length > _LONG * usual else 1
        cuts = _cuts(body, parts, shares)
        ends = [body.start, *cuts, body.stop]
        divided += [Span(a, b, shape_cut=parts > 1) for a, b in itertools.pairwise(ends)]
    return divided


def _cuts(body: Span, parts: int, shares: Profiles) -> list[float]:
    """Where a run is cut into parts: near each equal share of it, where bone less disc is least."""
    cuts = []
    for part in range(1, parts):
        middle, reach = body.start + part * body.length / parts, 0.3 * body.length / parts
        places = np.arange(int(middle - reach), int(middle + reach) + 1)
        worth = shares.vertebra[places] - shares.disc[places] + 0.002 * np.abs(places - middle)
        cuts.append(float(places[int(worth.argmin())]))
    return cuts


def _without_low(bodies: Sequence[Span], discs: Sequence[Span]) -> tuple[list[Span], int]:
    """Bodies without runs that are too low, unless discs lie on both sides of one: a collapsed vertebra."""
    usual = _usual(bodies)
    kept = [body for body in bodies if body.length >= _LOW * usual or body.cut_off or _between_discs(body, discs)]
    return kept, len(bodies) - len(kept)


def _between_discs(body: Span, discs: Sequence[Span]) -> bool:
    above = any(0 <= body.start - disc.stop <= 3 for disc in discs)
    return above and any(0 <= disc.start - body.stop <= 3 for disc in discs)


def _pitch(bodies: Sequence[Span], discs: Sequence[Span]) -> float:
    steps = np.diff([span.middle for span in bodies])
    if not len(steps):
        steps = np.diff([span.middle for span in discs])
    return float(np.median(steps)) if len(steps) else 34.0


def _one_a_gap(discs: Sequence[Span], bodies: Sequence[Span]) -> list[Span]:
    """Discs with those joined that lie in one gap and too near to each other for a level between them."""
    apart = _APART * _pitch(bodies, discs)
    kept: list[Span] = []
    for disc in discs:
        between = kept and any(kept[-1].middle < body.middle < disc.middle for body in bodies)
        if kept and not between and disc.middle - kept[-1].middle < apart:
            kept[-1] = Span(kept[-1].start, disc.stop)
        else:
            kept.append(disc)
    return kept
