"""Put a network where it will run, and find it inside its wrappers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from spinefuse_ext.networks.allocator import keep_freed_memory
from spinefuse_ext.networks.unloaded import start_from


def to_device(
    network: nn.Module,
    device: torch.device | str,
    compile: bool = False,
    channels_last: bool = False,
    weights: str | Path | None = None,
) -> nn.Module:
    """Move ``network`` to ``device``; with ``compile`` let ``torch.compile`` work on each of its children in place.

    Compiling the children keeps the names of the weights, and holds on every path through the network. With
    ``channels_last`` kernels are stored with the channels innermost, and so are the features that convolutions make of
    them: the same values, computed faster by most processors. On a CPU the process keeps freed memory from then on
    (:func:`~spinefuse_ext.networks.keep_freed_memory`), which makes it faster.

    ``weights`` names the checkpoint that the network should hold; without it, the network refuses to run
    (:func:`~spinefuse_ext.networks.start_from`).
    """
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    network = network.to(device)
    start_from(network, weights, device)
    if channels_last:
        for dims, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
            for parameter in network.parameters():
                if parameter.ndim == dims:
                    # with one channel both layouts fit, and only the strides of a new tensor say which is meant
                    parameter.data = torch.empty_like(parameter.data, memory_format=layout).copy_(parameter.data)
    if compile:
        for child in network.children():
            child.compile()
    return network


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside wrappers such as ``DistributedDataParallel``, which hold it as ``module``."""
    inner = getattr(network, "module", None)
    return unwrap(inner) if isinstance(inner, nn.Module) else network
