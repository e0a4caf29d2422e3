"""Load weights at the start of a run, refusing those of another network."""

from __future__ import annotations

from pathlib import Path

import torch
from ignite.engine import Engine, Events

from spinefuse_ext.networks.weights import fitting_weights


class StrictCheckpointLoader:
    """Read a checkpoint at once, and put it into ``network`` when the engine starts; every weight must fit.

    A network without weights needs no file.

    MONAI's federated client switches handlers off whose name holds ``CheckpointLoader``; this one is meant to be.

    Raises:
        MissingPathError: no such file.
        WeightsError: the checkpoint belongs to another network.
    """

    def __init__(self, load_path: str | Path, network: torch.nn.Module) -> None:
        self.network = network
        self.weights = fitting_weights(network, load_path, _device(network))

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.network.load_state_dict(self.weights)


def _device(network: torch.nn.Module) -> torch.device:
    """Where the weights are; the CPU for a network that has none."""
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))
