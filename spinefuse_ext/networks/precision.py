"""Where mixed precision makes a training faster without another care."""

from __future__ import annotations

import torch


def bfloat16_serves(device: torch.device | str) -> bool:
    """Whether ``torch.autocast`` takes bfloat16 on ``device`` and its processor has instructions for it.

    bfloat16 has the range of float32, so no loss is scaled. On CUDA autocast's type is float16: False.
    """
    device = torch.device(device)
    if torch.get_autocast_dtype(device.type) != torch.bfloat16 or device.type != "cpu":
        return False
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of torch, which has no public way to ask
    return any(bool(getattr(torch.cpu, name, bool)()) for name in asked)
