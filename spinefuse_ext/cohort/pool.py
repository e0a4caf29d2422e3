"""Work on many cases in a few processes, so that a case that crashes its process costs only itself."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

import torch

from spinefuse_ext.console import quieten_libraries
from spinefuse_ext.validation import SpinefuseError

Job = TypeVar("Job")
Result = TypeVar("Result")

#: After so many jobs a process makes room for a fresh one, which gives back what libraries hold on to; a fork is cheap.
JOBS_PER_PROCESS = 4
#: Imported once by the server that processes are forked from: ITK takes 12 s and 600 MB to load.
_PRELOAD = ["spinefuse_ext.preload"]


class ProcessLostError(SpinefuseError):
    """The process of a case ended without a word."""


def run_all(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, Result | BaseException]]:
    """Yield each job with what ``work`` returned or raised, as they end; at most ``workers`` run at a time.

    ``work`` runs in another process, so it, its jobs and its results must be picklable. Each of the ``workers`` slots
    has a process of its own and hands it one job at a time: memory does not grow with the number of jobs, and when a
    process dies it is known which job killed it. That job gives ``ProcessLostError``; the others go on. Processes end
    when this one does, also by SIGKILL.
    """
    context = _context()
    slots: list[_Slot] = []
    own = threading.local()

    def done(job: Job) -> Result | BaseException:
        if not hasattr(own, "slot"):
            own.slot = _Slot(context, threads=max(1, cpu_count() // workers))
            slots.append(own.slot)
        try:
            result: Result = own.slot.run(work, job)
        except Exception as error:
            return error
        return result

    with ThreadPoolExecutor(min(workers, max(len(jobs), 1))) as threads:
        futures: dict[Future[Result | BaseException], Job] = {threads.submit(done, job): job for job in jobs}
        try:
            for future in as_completed(list(futures)):
                yield futures.pop(future), future.result()
        finally:  # also when the consumer stops or Ctrl-C comes: start nothing more
            threads.shutdown(wait=False, cancel_futures=True)
            for slot in slots:
                slot.close()


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Slot:
    """One process at a time, replaced after some jobs or when it was lost."""

    def __init__(self, context: BaseContext, threads: int) -> None:
        self.context, self.threads = context, threads
        self.executor: ProcessPoolExecutor | None = None
        self.used = 0

    def run(self, work: Callable[[Any], Any], job: Any) -> Any:
        if self.executor is None or self.used >= JOBS_PER_PROCESS:
            self.close()
            self.executor, self.used = ProcessPoolExecutor(1, self.context, _begin, (self.threads,)), 0
        self.used += 1
        try:
            return self.executor.submit(work, job).result()
        except BrokenProcessPool as error:
            self.close()
            raise ProcessLostError(
                "The process of this case was ended from outside, most likely because memory ran out; run again with "
                "fewer workers."
            ) from error

    def close(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
        self.executor = None


def _context() -> BaseContext:
    """Processes forked from a server that has loaded the libraries, or started anew where there is no such server."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def _begin(threads: int) -> None:
    """Set up a process: its share of the processors, and an end when its parent's comes."""
    import itk  # only here: the process that hands out the work needs none of it

    quieten_libraries()
    torch.set_num_threads(threads)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
