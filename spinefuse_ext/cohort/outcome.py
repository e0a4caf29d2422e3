"""What became of each case, and the order in which a person should look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.utils import StrEnum

from spinefuse_ext.cohort.limits import PairLimits
from spinefuse_ext.cohort.table import CohortCase


class Verdict(StrEnum):
    """From the one that needs most attention to the one that needs least."""

    FAILED = "failed"
    OUTSIDE = "outside limits"
    PASSED = "passed"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Outcome:
    """One case after the run: its record, or the sentence that says why there is none.

    ``trace`` is the traceback of an error that is no bad input; ``misses`` are the limits the case does not keep, and
    ``strain`` is its worst number as a multiple of its limit.
    """

    case: CohortCase
    folder: Path
    record: Mapping[str, Any] | None = None
    error: str = ""
    trace: str = ""
    done_now: bool = False
    misses: tuple[str, ...] = ()
    strain: float = 0.0
    verdict: Verdict = field(default=Verdict.FAILED)

    @property
    def usable(self) -> bool:
        """Whether there is a pair."""
        return self.record is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what looks wrong, without being an error."""
        return tuple(self.record["warnings"]) if self.record else ()

    def measured(self, name: str) -> Any:
        """One number of the record; None where there is none."""
        return self.record["measured"].get(name) if self.record else None


def judge(
    case: CohortCase,
    folder: Path,
    limits: PairLimits,
    *,
    record: Mapping[str, Any] | None = None,
    error: str = "",
    trace: str = "",
    done_now: bool = False,
) -> Outcome:
    """Hold a case against the limits. A person's word in the column reject comes before every number."""
    checks = limits.check(record["measured"]) if record else []
    misses = tuple(check.sentence for check in checks if check.missed)
    if case.reject:
        verdict = Verdict.REJECTED
    elif record is None:
        verdict = Verdict.FAILED
    else:
        verdict = Verdict.OUTSIDE if misses else Verdict.PASSED
    strain = max((check.strain for check in checks), default=0.0)
    return Outcome(case, folder, record, error, trace, done_now, misses, strain, verdict)


def worst_first(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """By verdict, then cases with warnings, then by how near the worst number is to its limit, or beyond it."""
    order = list(Verdict)
    return sorted(outcomes, key=lambda one: (order.index(one.verdict), not one.warnings, -one.strain, one.case.line))
