"""Two segmentation networks as one module, and a single one behind the same contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from spinefuse_ext.enums import SubNetwork
from spinefuse_ext.networks.planes import SeenPlanes
from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import check_choice


class DualSegNet(SeenPlanes):
    """A UNet and a VNet side by side: one checkpoint, one DDP wrapper, one export.

    In training ``(B, C, *S) -> (2, B, K, *S)`` logits, first the UNet's, then the VNet's. In evaluation
    ``(B, C, *S) -> (B, K, *S)`` probabilities. The sub-networks share no weights; any two networks that map
    ``(B, C, *S)`` to logits of one shape will do, as long as they differ (two equal ones agree and teach nothing).

    Args:
        unet: first sub-network, for example MONAI's ``UNet``.
        vnet: second sub-network, for example ``spinefuse_ext.networks.VNet``.
        output: whose probability evaluation returns: ``mean`` of both, ``unet`` or ``vnet``.
        planes: of the slices that it learns from, see :class:`~spinefuse_ext.networks.SeenPlanes`.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.
    """

    def __init__(
        self,
        unet: nn.Module,
        vnet: nn.Module,
        output: str = SubNetwork.MEAN,
        *,
        planes: str | Sequence[str] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__(planes)
        self.unet = unet
        self.vnet = vnet
        self.output = str(check_choice("output", output, SubNetwork).value)
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> logits ``(2, B, K, *S)`` in training, probabilities ``(B, K, *S)`` in evaluation."""
        if self.training:
            return torch.stack((self.unet(x), self.vnet(x)))
        if self.output == "unet":
            return torch.softmax(self.unet(x), dim=1)
        if self.output == "vnet":
            return torch.softmax(self.vnet(x), dim=1)
        return (torch.softmax(self.unet(x), dim=1) + torch.softmax(self.vnet(x), dim=1)) / 2

    def axial_kind(self) -> nn.Module:
        """A UNet."""
        return self.unet

    def each(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> probabilities ``(B, 2 K, *S)``: all K of the UNet's, then those of the VNet."""
        return torch.cat((torch.softmax(self.unet(x), dim=1), torch.softmax(self.vnet(x), dim=1)), dim=1)


class SingleSegNet(SeenPlanes):
    """One network behind ``DualSegNet``'s contract, for supervised controls and one-network methods.

    In training ``(B, C, *S) -> (1, B, K, *S)`` logits, in evaluation ``(B, K, *S)`` probabilities.

    Args:
        network: maps ``(B, C, *S)`` to logits ``(B, K, *S)``.
        planes: of the slices that it learns from, see :class:`~spinefuse_ext.networks.SeenPlanes`.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.
    """

    def __init__(
        self, network: nn.Module, *, planes: str | Sequence[str] | None = None, weights: str | Path | None = None
    ) -> None:
        super().__init__(planes)
        self.network = network
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> logits ``(1, B, K, *S)`` in training, probabilities ``(B, K, *S)`` in evaluation."""
        logits = self.network(x)
        return logits.unsqueeze(0) if self.training else torch.softmax(logits, dim=1)

    def axial_kind(self) -> nn.Module:
        """One like its own."""
        return self.network
