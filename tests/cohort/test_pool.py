from __future__ import annotations

import math
import os

import pytest

from spinefuse_ext.cohort import ProcessLostError, run_all


def test_results_and_errors_come_with_their_jobs() -> None:
    found = dict(run_all(math.sqrt, [4, -1, 9], workers=2))
    assert (found[4], found[9]) == (2, 3)
    assert isinstance(found[-1], ValueError)


def test_a_process_that_dies_costs_its_own_job_only() -> None:
    jobs = ["1 + 1", "__import__('os')._exit(9)", "2 + 2", "3 + 3"]
    found = dict(run_all(eval, jobs, workers=1))
    assert [found[job] for job in (jobs[0], *jobs[2:])] == [2, 4, 6]
    lost = found[jobs[1]]
    assert isinstance(lost, ProcessLostError)
    assert "ended from outside, most likely because memory ran out" in str(lost)


def test_work_is_not_done_in_this_process_and_processes_are_used_again() -> None:
    numbers = [result for _, result in run_all(eval, ["__import__('os').getpid()"] * 5, workers=2)]
    assert os.getpid() not in numbers
    assert 1 <= len(set(numbers)) <= 2


def test_no_jobs_give_nothing() -> None:
    assert list(run_all(eval, [], workers=2)) == []


def test_a_reader_that_stops_early_is_not_kept_waiting() -> None:
    results = run_all(eval, ["1"] * 50, workers=1)
    next(results)
    results.close()
    with pytest.raises(StopIteration):
        next(results)
