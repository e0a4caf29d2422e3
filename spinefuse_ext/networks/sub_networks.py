"""What each sub-network of a pair says, in the pass that would give their mean."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from spinefuse_ext.networks.device import unwrap
from spinefuse_ext.networks.unloaded import check_loaded

logger = logging.getLogger(__name__)


class EachSubNetwork(nn.Module):
    """Evaluation returns the probabilities of both sub-networks, ``(B, C, *S) -> (B, 2 K, *S)``, not one of the two.

    One pass of an inferer then serves both predictions and their mean; ``spinefuse_ext.transforms.SplitSubNetworksd``
    takes them apart. The weights are those of ``network``, under its names; in training nothing changes.

    Args:
        network: a pair with ``each``, such as ``DualSegNet``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> what ``network`` gives in training, probabilities ``(B, 2 K, *S)`` in evaluation."""
        check_loaded(self.network)  # which `each` would not ask
        both: torch.Tensor = self.network(x) if self.training else self.network.each(x)  # type: ignore[operator]
        return both

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The weights under the names that ``network`` gives them, so that those of a training can be put in here."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights of ``network``."""
        return self.network.load_state_dict(*args, **kwargs)


def each_sub_network(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Return ``EachSubNetwork(network)`` for a pair; any other network, or one that is not ``enabled``, as it is."""
    if not enabled:
        return network
    network = unwrap(network)
    if not hasattr(network, "each"):
        logger.info("One network: there is no disagreement, and trust is its own confidence.")
        return network
    return EachSubNetwork(network)
