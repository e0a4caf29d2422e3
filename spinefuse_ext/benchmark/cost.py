"""What a case costs: seconds and memory of this process while the bundle works on it."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """CPU seconds over all threads, seconds on the clock, and the largest memory meanwhile in MB."""

    cpu_s: float
    wall_s: float
    peak_mb: float


class Meter:
    """Measures from ``start`` to ``stop``; Linux alone forgets an earlier peak, elsewhere it is that of the process."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew."""
        with suppress(OSError):  # no Linux, or not allowed: the peak is then that since the process began
            _CLEAR.write_text("5")
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def stop(self) -> Cost:
        """What was used since ``start``."""
        return Cost(time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s, _peak_mb())


def _peak_mb() -> float:
    """Peak resident memory; NaN where the system does not tell."""
    if _STATUS.is_file():
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        peak = next((line.split()[1] for line in lines if line.startswith("VmHWM")), "nan")
        return float(peak) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
