"""Which channels of a batch hold an image: one that is 0 everywhere stands for an image that is missing."""

from __future__ import annotations

import torch


def held(image: torch.Tensor) -> torch.Tensor:
    """``(B, C, *S)`` -> whether a channel has a value other than 0, bool ``(B, C, 1, ...)``."""
    return (image != 0).flatten(2).any(2).view(*image.shape[:2], *[1] * (image.ndim - 2))


def with_the_other(pair: torch.Tensor) -> torch.Tensor:
    """A pair ``(B, 2, *S)`` with the one image in the place of the other where that is missing."""
    return torch.where(held(pair), pair, pair.flip(1))
