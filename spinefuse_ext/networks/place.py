"""Put a network where it will run."""

from __future__ import annotations

import torch
from torch import nn


def place(network: nn.Module, device: torch.device | str, compile: bool = False) -> nn.Module:
    """Move ``network`` to ``device``; with ``compile`` let ``torch.compile`` work on each of its children in place.

    Compiling the children keeps the names of the weights, and holds on every path through the network.
    """
    network = network.to(device)
    if compile:
        for child in network.children():
            child.compile()
    return network
