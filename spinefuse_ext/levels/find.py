"""Levels of a volume of structures: vertebrae and discs one by one, named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.levels.anchors import NamedPoint, disc_name, landmark_anchors, point_anchors
from spinefuse_ext.levels.centre_line import CentreLine, centre_line
from spinefuse_ext.levels.divide import Divided, divide
from spinefuse_ext.levels.grid import Mask, Structures, on_whole, structures_of
from spinefuse_ext.levels.ids import number_of
from spinefuse_ext.levels.naming import Anchor, Naming, assumption, name_ranks
from spinefuse_ext.levels.record import Level, Levels
from spinefuse_ext.levels.tube import Column, column, profiles
from spinefuse_ext.levels.unusual import ranks_of_bodies, shape_doubts
from spinefuse_ext.validation import LevelsError

Points = NDArray[np.float64]


@dataclass(frozen=True)
class KnownLevels:
    """What somebody knows of the levels: points with names, the name of the lowest disc, a file of landmarks."""

    points: Sequence[NamedPoint] = field(default=())
    lowest_disc: str | None = None
    landmarks: str | Path | None = None


def find_levels(
    classes: NDArray[np.uint8],
    affine: NDArray[np.float64],
    *,
    known: KnownLevels | None = None,
    ids: str = "verse",
    name: str = "The label volume",
) -> tuple[NDArray[np.uint16], Levels]:
    """Tell the levels apart in class numbers ``(X, Y, Z)`` of ``STRUCTURES``; ``affine`` is to RAS mm.

    Returns the number of its level for each voxel ``(X, Y, Z)``, and what is known of each. Bodies and discs are what a
    tube about the line through them meets in turn. Each body grows from there through the bone that hangs together,
    thick parts first, which separates bodies that touch and gives an arch to the body of its pedicles. Loose pieces go
    to the level whose process is expected there; what is far from all is dropped and counted.

    Raises:
        LevelsError: There are no vertebrae or discs to tell apart, or what is known does not fit them.
    """
    found = structures_of(name, classes, affine)
    if found is None or not found.vertebra.any():
        raise LevelsError(
            f"{name} holds no vertebra; name a label volume of a spine, and say by relabel or scheme what its numbers "
            "are."
        )
    line = centre_line(found)
    spans = column(found, line, profiles(found, line))
    if not spans.bodies:
        raise LevelsError(
            f"{name} shows no vertebral body on the line through the spine; check the labels in a viewer."
        )
    parts = divide(found, line, spans)
    placed = _Placed(found, line, spans, parts, *ranks_of_bodies(spans))
    known = known or KnownLevels()
    anchors = placed.anchors(known)
    naming = name_ranks(placed.ranks, anchors)
    doubts = (
        *naming.doubts,
        *placed.below_the_lowest(known, naming),
        *assumption(naming, anchors),
        *shape_doubts(spans, placed.body_ranks, naming.names),
    )
    levels, numbers = placed.levels(naming, ids)
    record = Levels(
        tuple(levels),
        naming.relative,
        naming.named_by,
        doubts,
        parts.dropped + spans.dropped,
        parts.dropped_ml,
    )
    return on_whole(found, numbers, classes), record


@dataclass(frozen=True)
class _Placed:
    """Bodies and discs with their ranks from the head."""

    found: Structures
    line: CentreLine
    spans: Column
    parts: Divided
    body_ranks: tuple[int, ...]
    disc_ranks: tuple[int, ...]

    @property
    def ranks(self) -> list[int]:
        """Of all vertebrae that are seen, or lie beside a disc that is."""
        beside = [rank + step for rank in self.disc_ranks for step in (0, 1)]
        sacrum = [] if self.sacrum_rank is None else [self.sacrum_rank]
        return sorted({*self.body_ranks, *beside, *sacrum})

    @property
    def sacrum_rank(self) -> int | None:
        """The vertebra below the last body and above the sacrum's first disc."""
        if self.spans.sacrum is None:
            return None
        last = max(
            (r for r, b in zip(self.body_ranks, self.spans.bodies, strict=True) if b.middle < self.spans.sacrum),
            default=-1,
        )
        between = [
            rank
            for rank, disc in zip(self.disc_ranks, self.spans.discs, strict=True)
            if disc.middle < self.spans.sacrum + 3
        ]
        return max(last + 1, max(between, default=-1) + 1)

    def anchors(self, known: KnownLevels) -> list[Anchor]:
        bones = [(rank, self._voxels(self.parts.bones, place)) for place, rank in enumerate(self.body_ranks, 1)]
        discs = [(rank, self._voxels(self.parts.discs, place)) for place, rank in enumerate(self.disc_ranks, 1)]
        sacrum = self.sacrum_rank
        if sacrum is not None:
            bones.append((sacrum, self.found.points_mm(self.found.sacrum)))
        held = [(rank, voxels) for rank, voxels in bones if len(voxels)]
        anchors = point_anchors(known.points, held, [(rank, voxels) for rank, voxels in discs if len(voxels)])
        if known.lowest_disc is not None:
            if not self.disc_ranks:
                raise LevelsError(f"{self.found.name} holds no disc, so its lowest one cannot be {known.lowest_disc}.")
            above = disc_name(known.lowest_disc)
            anchors.append(Anchor(max(self.disc_ranks), above, f"the lowest disc given as {known.lowest_disc}"))
        if known.landmarks is not None:
            anchors += landmark_anchors(known.landmarks, held)
        if sacrum is not None:
            anchors.append(Anchor(sacrum, "S1", "the sacrum of the labels", given=False))
        return anchors

    def below_the_lowest(self, known: KnownLevels, naming: Naming) -> list[str]:
        """A sentence where a vertebra lies below the disc that was given as the lowest one."""
        lower = [rank for rank in self.body_ranks if known.lowest_disc is not None and rank > max(self.disc_ranks)]
        return [
            f"A vertebra lies below the lowest disc, {known.lowest_disc}, and is named {naming.names[rank]}; if the "
            "disc below it was missed, all names stand one level too low."
            for rank in lower
        ]

    def _voxels(self, numbers: NDArray[np.int32], place: int) -> Points:
        return self.found.points_mm(numbers == place)

    def levels(self, naming: Naming, ids: str) -> tuple[list[Level], NDArray[np.uint16]]:
        """All levels from the head down, and the volume of their numbers."""
        values = np.zeros(self.found.classes.shape, np.uint16)
        levels = []
        for seen in self._seen():
            name = naming.disc(seen.rank) if seen.kind == "disc" else naming.names[seen.rank]
            number = number_of(name, ids)
            values[seen.mask] = number
            centre = self.found.points_mm(seen.mask).mean(0) if seen.centre_mm is None else seen.centre_mm
            x, y, z = (float(value) for value in centre)
            volume, why = int(seen.mask.sum()) * self.found.voxel_ml, naming.evidence[seen.rank]
            levels.append(Level(seen.kind, seen.rank, name, number, (x, y, z), volume, why, seen.cut_off))
        return levels, values

    def _seen(self) -> list[_Seen]:
        """What has voxels, from the head down."""
        seen = []
        for place, (rank, span) in enumerate(zip(self.body_ranks, self.spans.bodies, strict=True), 1):
            centre = self.line.at(span.middle)
            seen.append(_Seen("vertebra", rank, span.middle, self.parts.bones == place, centre, span.cut_off))
        for place, (rank, span) in enumerate(zip(self.disc_ranks, self.spans.discs, strict=True), 1):
            seen.append(_Seen("disc", rank, span.middle, self.parts.discs == place))
        sacrum = self.sacrum_rank
        if sacrum is not None:
            seen.append(_Seen("sacrum", sacrum, np.inf, self.found.sacrum))
        return sorted((each for each in seen if each.mask.any()), key=lambda each: each.along_mm)


@dataclass(frozen=True)
class _Seen:
    """One level before it has a name: kind, rank, place along the line and voxels; of a body also its centre."""

    kind: str
    rank: int
    along_mm: float
    mask: Mask
    centre_mm: Points | None = None
    cut_off: bool = False
