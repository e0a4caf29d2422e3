from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spinefuse_ext.cohort import CohortCase, PairLimits, Verdict, judge, worst_first
from spinefuse_ext.validation import CohortError


def measured(**changed: Any) -> dict[str, Any]:
    spacings = {"ct_spacing_mm": [0.5, 0.5, 2.0], "mr_spacing_mm": [0.6, 0.6, 4.0]}
    return {"fre_rms_mm": 1.5, "tre_mean_mm": 2.0, "covered": 0.5, "edge_overlap": 0.3, **spacings, **changed}


def test_a_case_at_its_limits_passes_and_beyond_them_each_miss_is_told() -> None:
    limits = PairLimits(max_fre_mm=1.5, max_tre_mm=2.0, min_covered=0.5, max_spacing_mm=4.0, min_edge_overlap=0.3)
    assert not any(check.missed for check in limits.check(measured()))
    worse = measured(fre_rms_mm=3.0, tre_mean_mm=2.5, covered=0.25, edge_overlap=0.2, ct_spacing_mm=[5.0, 0.5, 0.5])
    checks = limits.check(worse)
    assert [check.sentence for check in checks if check.missed] == [
        "FRE 3.00 mm is above 1.5 mm",
        "leave-one-out TRE 2.50 mm is above 2 mm",
        "the largest voxel edge 5.00 mm is above 4 mm",
        "the MR covers 25.0% of the CT grid, less than 50.0%",
        "the edge overlap 0.20 is below 0.3",
    ]
    assert [check.strain for check in checks] == pytest.approx([2.0, 1.25, 1.25, 2.0, 1.5])


def test_what_was_not_measured_is_not_judged() -> None:
    checks = PairLimits().check(measured(fre_rms_mm=None, tre_mean_mm=None))
    assert not any("FRE" in check.sentence or "TRE" in check.sentence for check in checks)


def test_a_limit_of_nothing_is_kept_by_nothing_else() -> None:
    (check,) = [one for one in PairLimits(max_fre_mm=0).check(measured()) if "FRE" in one.sentence]
    assert check.missed
    (check,) = [one for one in PairLimits(max_fre_mm=0).check(measured(fre_rms_mm=0.0)) if "FRE" in one.sentence]
    assert not check.missed


@pytest.mark.parametrize("value", [-1, float("nan"), "2", True])
def test_a_limit_must_be_a_number(value: Any) -> None:
    with pytest.raises(CohortError, match="limit max_tre_mm must be a number from 0 up"):
        PairLimits(max_tre_mm=value)


def test_the_worst_comes_first() -> None:
    def outcome(line: int, reject: str = "", warnings: tuple[str, ...] = (), **changed: Any) -> Any:
        case = CohortCase(line, f"c{line}", "p", "ct", "mr", reject=reject)
        record = {"measured": measured(**changed), "warnings": list(warnings)} if changed is not None else None
        return judge(case, Path("x"), PairLimits(), record=record)

    failed = judge(CohortCase(6, "c6", "p", "ct", "mr"), Path("x"), PairLimits(), error="no such file")
    given = [
        outcome(2),
        outcome(3, reject="moved"),
        outcome(4, fre_rms_mm=2.9),
        outcome(5, fre_rms_mm=9.0),
        failed,
        outcome(7, warnings=("swapped",)),
        outcome(8, tre_mean_mm=40.0),
    ]
    ordered = worst_first(given)
    assert [one.case.line for one in ordered] == [6, 8, 5, 7, 4, 2, 3]
    assert [one.verdict for one in ordered] == [
        *(Verdict.FAILED, Verdict.OUTSIDE, Verdict.OUTSIDE),
        *(Verdict.PASSED, Verdict.PASSED, Verdict.PASSED, Verdict.REJECTED),
    ]
