"""Training images of which one modality is missing, so that one network serves a CT, an MR, or both."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spinefuse_ext.channels import held
from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.validation import ConfigError, check_numbers


class RandMissingd(BatchTransform):
    """Leave out at most one channel of each image: it becomes 0 everywhere, which stands for "no such image".

    An image of which one channel alone is there keeps that one.

    Args:
        probability: that a channel is left out, a number for each channel; their sum is 1 at most.
        batched: see :class:`BatchTransform`.

    Raises:
        ConfigError: numbers that are no such probabilities; from a call, when there is not one for each channel.
    """

    def __init__(self, probability: Sequence[float], batched: bool = True) -> None:
        super().__init__(batched)
        self.probability = check_numbers("probability", probability, least=0, most=1)
        if not self.probability or sum(self.probability) > 1:
            raise ConfigError(f"probability: expected numbers with a sum of 1 at most, got {list(probability)}.")

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)``, label unchanged."""
        channels = image.shape[1]
        if channels != len(self.probability):
            raise ConfigError(f"probability has {len(self.probability)} numbers, the images have {channels} channels.")
        out = draws.pick([*self.probability, 1 - sum(self.probability)])
        dropped = out[:, None] == torch.arange(channels, device=image.device)
        dropped = dropped.view(*dropped.shape, *[1] * (image.ndim - 2))
        dropped &= (held(image) & ~dropped).any(1, keepdim=True)  # else nothing would be left
        return image.masked_fill(dropped, 0), label
