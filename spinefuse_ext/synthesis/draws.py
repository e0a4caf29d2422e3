"""Random numbers for a whole batch at once, on the batch's device, from one seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

_SMOOTH = {1: "linear", 2: "bicubic", 3: "trilinear"}


class Draws:
    """What a batch transform draws: numbers and smooth fields, different for each image of the batch.

    Args:
        seed: of the generator on the device; the same seed gives the same numbers on the same kind of device.
        like: images ``(B, C, *S)`` whose batch, spatial size, device and type the draws have.
    """

    def __init__(self, seed: int, like: torch.Tensor) -> None:
        self.device, self.dtype = like.device, like.dtype if like.is_floating_point() else torch.float32
        self.batch, self.size = len(like), tuple(like.shape[2:])
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def _per_image(self, channels: int) -> tuple[int, ...]:
        return (self.batch, channels, *[1] * len(self.size))

    def uniform(self, low: float = 0.0, high: float = 1.0, channels: int = 1) -> torch.Tensor:
        """Numbers from ``low`` to ``high``, ``(B, channels, 1, ...)``."""
        shape = self._per_image(channels)
        drawn = torch.rand(shape, generator=self.generator, device=self.device, dtype=self.dtype)
        return low + (high - low) * drawn

    def normal(self, channels: int = 1) -> torch.Tensor:
        """Standard normal numbers, ``(B, channels, 1, ...)``."""
        shape = self._per_image(channels)
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=self.dtype)

    def turns(self, planes: Sequence[tuple[int, int]], angles: Sequence[torch.Tensor]) -> torch.Tensor:
        """Rotations ``(B, len(S), len(S))``: each plane by its angles ``(B,)``, radians, one after the other."""
        unit = torch.eye(len(self.size), device=self.device, dtype=self.dtype).repeat(self.batch, 1, 1)
        matrix = unit
        for (first, second), angle in zip(planes, angles, strict=False):
            turn = unit.clone()
            turn[:, first, first] = turn[:, second, second] = torch.cos(angle)
            turn[:, first, second], turn[:, second, first] = -torch.sin(angle), torch.sin(angle)
            matrix = matrix @ turn
        return matrix

    def grid_size(self) -> torch.Tensor:
        """Spatial size as a tensor, ``(1, len(S), 1, ...)``."""
        return torch.as_tensor(self.size, device=self.device, dtype=self.dtype).view(1, -1, *[1] * len(self.size))

    def chance(self, probability: float) -> torch.Tensor:
        """True with a probability for each image, bool ``(B, 1, 1, ...)``."""
        return self.uniform() < probability

    def number(self, low: float, high: float) -> float:
        """One number for the whole batch, on the host."""
        host = torch.rand((), generator=self.generator, device=self.device, dtype=torch.float32)
        return low + (high - low) * float(host)

    def pick(self, weights: Sequence[float]) -> torch.Tensor:
        """An index for each image, drawn by ``weights``, int64 ``(B,)``."""
        shares = torch.as_tensor(list(weights), device=self.device, dtype=torch.float32)
        return torch.multinomial(shares, self.batch, replacement=True, generator=self.generator)

    def noise(self, channels: int = 1) -> torch.Tensor:
        """White standard normal noise, ``(B, channels, *S)``."""
        shape = (self.batch, channels, *self.size)
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=self.dtype)

    def field(self, grain: tuple[float, float], channels: int = 1) -> torch.Tensor:
        """Smooth noise of about unit variance, ``(B, channels, *S)``; a grain spans ``grain`` (low, high) pixels."""
        span = self.number(*grain)
        coarse = [max(2, round(length / span)) for length in self.size]
        knots = torch.randn(
            (self.batch, channels, *coarse), generator=self.generator, device=self.device, dtype=self.dtype
        )
        mode = _SMOOTH[len(self.size)]
        return F.interpolate(knots, self.size, mode=mode)
