"""Memory that stays with the process: on CPU a third of a forward's time can go into asking for it again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # numbers of <malloc.h>
SETTINGS = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}  # bytes


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed buffers of up to 1 GiB for reuse; return whether it agreed.

    Holds for the whole process, until it ends: large images then run faster on CPU, and the process holds its peak
    memory. Linux with glibc only; elsewhere nothing happens and the answer is False. Results do not change.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    agreed = [mallopt(option, value) == 1 for option, value in SETTINGS.items()]
    return all(agreed)
