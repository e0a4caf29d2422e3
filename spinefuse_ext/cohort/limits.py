"""What a pair must keep to be used without a second look, and how far from it a case is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from spinefuse_ext.validation import CohortError


class Check(NamedTuple):
    """One number held against its limit; ``strain`` is 1 at the limit and grows as the number gets worse."""

    sentence: str
    strain: float

    @property
    def missed(self) -> bool:
        return self.strain > 1


@dataclass(frozen=True)
class PairLimits:
    """Largest errors and voxel sizes in mm, and smallest shares (0 to 1), that a pair may have.

    ``max_spacing_mm`` is about the largest voxel edge of either image as it came from the scanner.
    """

    max_fre_mm: float = 3.0
    max_tre_mm: float = 4.0
    min_covered: float = 0.02
    max_spacing_mm: float = 7.0
    min_edge_overlap: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise CohortError(f"The limit {field.name} must be a number from 0 up, got {value}.")

    def check(self, measured: Mapping[str, Any]) -> list[Check]:
        """Hold the numbers of one case against the limits; what was not measured is not judged."""
        spacing_mm = max(*measured["ct_spacing_mm"], *measured["mr_spacing_mm"])
        upper = [
            ("FRE {:.2f} mm is above {:g} mm", measured["fre_rms_mm"], self.max_fre_mm),
            ("leave-one-out TRE {:.2f} mm is above {:g} mm", measured["tre_mean_mm"], self.max_tre_mm),
            ("the largest voxel edge {:.2f} mm is above {:g} mm", spacing_mm, self.max_spacing_mm),
        ]
        lower = [
            ("the MR covers {:.1%} of the CT grid, less than {:.1%}", measured["covered"], self.min_covered),
            ("the edge overlap {:.2f} is below {:g}", measured["edge_overlap"], self.min_edge_overlap),
        ]
        return [
            *(_check(words, value, limit, _over(value, limit)) for words, value, limit in upper if value is not None),
            *(_check(words, value, limit, _over(limit, value)) for words, value, limit in lower if value is not None),
        ]


def _check(words: str, value: float, limit: float, strain: float) -> Check:
    return Check(words.format(value, limit), strain)


def _over(value: float, limit: float) -> float:
    """How many times ``limit`` a number is; a limit of 0 is kept by 0 alone."""
    if limit > 0:
        return value / limit
    return 0.0 if value <= 0 else float("inf")
