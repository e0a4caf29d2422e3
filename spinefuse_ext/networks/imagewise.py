"""One network for any image, used on every image there is: CT, MR or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.enums import SubNetwork
from spinefuse_ext.networks.dual_seg_net import DualSegNet
from spinefuse_ext.validation import check_numbers

_CLOSE_PX = 15  # how far from what it shows an image still counts as showing a place
_FAINT = 1e-3  # what an image counts where no other shows the place


class ImagewiseSegNet(DualSegNet):
    """``DualSegNet`` of one input channel on ``C`` registered images ``(B, C, *S)`` of one patient, averaged.

    Each image is segmented by itself, so a network that learnt any contrast serves a CT, an MR, or both, and none is
    made up where it is missing. Of a pair, the probabilities are averaged voxel by voxel over the images that show the
    place: outside the field of one of them (where it is 0 for 15 pixels around) the other decides alone.

    In evaluation it returns what ``DualSegNet`` does. In training it takes one image: ``(B, 1, *S)``.

    Args:
        unet, vnet, output, planes, weights: see :class:`~spinefuse_ext.networks.DualSegNet`; the sub-networks have one
            input channel.
        image_weights: what each of the ``C`` images counts, numbers above 0; all alike without them.

    Raises:
        ConfigError: when a weight is not above 0, or there is not one for each image.
    """

    def __init__(
        self,
        unet: nn.Module,
        vnet: nn.Module,
        output: str = SubNetwork.MEAN,
        *,
        image_weights: Sequence[float] | None = None,
        planes: str | Sequence[str] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__(unet, vnet, output, planes=planes, weights=weights)
        self.image_weights = None if image_weights is None else check_numbers("image_weights", image_weights, above=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, *S)`` -> probabilities ``(B, K, *S)``; in training ``(B, 1, *S)`` -> ``(2, B, K, *S)``."""
        return super().forward(x) if self.training else self._averaged(super().forward, x)

    def each(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, *S)`` -> probabilities ``(B, 2 K, *S)`` of the two sub-networks."""
        return self._averaged(super().each, x)

    def each_axial(self, x: torch.Tensor) -> torch.Tensor:
        """Axial slices of the images ``(B, C, H, W)`` -> probabilities ``(B, 2 K, H, W)``, averaged in the same way."""
        return self._averaged(super().each_axial, x)

    def _averaged(self, network: Any, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] == 1:
            single: torch.Tensor = network(x)
            return single
        probability: torch.Tensor = network(x.flatten(0, 1)[:, None])
        weight = (shown(x) * self._worth(x)).flatten(0, 1)[:, None]
        weighted = (probability * weight).unflatten(0, x.shape[:2]).sum(1)
        return weighted / weight.unflatten(0, x.shape[:2]).sum(1)

    def _worth(self, x: torch.Tensor) -> torch.Tensor:
        """What each image counts, as ``(C, 1, ...)``."""
        images = x.shape[1]
        worth = [1] * images if self.image_weights is None else self.image_weights
        return x.new_tensor(check_numbers("image_weights", worth, length=images)).reshape(-1, *[1] * (x.ndim - 2))


def shown(x: torch.Tensor, close_px: int = _CLOSE_PX) -> torch.Tensor:
    """``(B, C, *S)`` -> 1 within ``close_px`` of what is not 0 in a channel, nearly 0 elsewhere."""
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[x.ndim - 2]
    near = pool((x != 0).to(x.dtype), 2 * close_px + 1, stride=1, padding=close_px)
    return near.clamp(min=_FAINT)
