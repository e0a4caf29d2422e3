"""One line at the start of a run: where it runs, and which of the switches for speed are on."""

from __future__ import annotations

import logging
import os

import torch

logger = logging.getLogger(__name__)

#: What PyTorch calls an x86 processor without AVX-512, which has no instructions for bfloat16.
_WITHOUT_BFLOAT16 = "AVX2"


def log_run(
    device: torch.device | str,
    *,
    amp: bool = False,
    compile: bool = False,
    channels_last: bool = False,
    cache: str | None = None,
) -> str:
    """Log, on rank 0, the device, the number of processes, and what is switched on; return the line.

    Args:
        device: of this process.
        amp: mixed precision, in the type that PyTorch's autocast takes on that device.
        compile: ``torch.compile``.
        channels_last: kernels with the channels innermost.
        cache: where preprocessed cases are kept; not told when omitted.
    """
    device = torch.device(device)
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    half = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    line = ", ".join(
        [
            f"Running on {device}{name}",
            f"{processes} process{'es' if processes > 1 else ''}",
            f"mixed precision {half if amp else 'off'}",
            f"torch.compile {'on' if compile else 'off'}",
            f"channels last {'on' if channels_last else 'off'}",
            *([f"cache {cache}"] if cache else []),
        ]
    )
    if os.environ.get("RANK", "0") == "0":
        logger.info(line)
        if amp and device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == _WITHOUT_BFLOAT16:
            logger.warning(
                "This processor has no instructions for bfloat16, so mixed precision is several times slower than "
                "float32 on it; give --amp False."
            )
    return line
