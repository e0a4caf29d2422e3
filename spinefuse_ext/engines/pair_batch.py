"""A pair that is its own target: what MONAI's ``SupervisedTrainer`` needs to train a fusion network without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.utils import CommonKeys

from spinefuse_ext.engines.step import plain
from spinefuse_ext.validation import check_part


class PreparePair(PrepareBatch):
    """Hand ``image (B, 2, *S)`` of a batch to the network and, the same tensor, to the loss as its target.

    Args:
        swap_probability: how often the two sources change places, in the whole batch; 0.5 in U2Fusion, whose network
            treats them alike. Drawn from torch's global generator.
        crop: what is done to ``image`` first, still where the loader left it, such as
            :class:`~spinefuse_ext.engines.RandomBatchCrop`.
        transform: of a dictionary whose ``image`` is the batch, on the device, such as
            :class:`~spinefuse_ext.synthesis.RandFlipd`.
    """

    def __init__(
        self,
        swap_probability: float = 0.0,
        crop: Callable[[torch.Tensor], torch.Tensor] | None = None,
        transform: Callable[[dict[str, torch.Tensor]], Mapping[Any, Any]] | None = None,
    ) -> None:
        self.swap_probability = check_part("swap_probability", swap_probability)
        self.crop, self.transform = crop, transform

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image = batchdata[CommonKeys.IMAGE]
        image = image if self.crop is None else self.crop(image)
        pair = plain(image.to(device=device, non_blocking=non_blocking, **kwargs))
        if self.transform is not None:
            pair = self.transform({CommonKeys.IMAGE: pair})[CommonKeys.IMAGE]
        if self.swap_probability and torch.rand(()).item() < self.swap_probability:
            pair = pair.flip(1)
        return pair, pair
