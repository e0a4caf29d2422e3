"""Where the patient lies in the image: turned, scaled, shifted, flipped and gently bent, cut to the network's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch.nn import functional as F

from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.validation import ConfigError, check_number, check_numbers, check_range


class RandPlacementd(BatchTransform):
    """Cut ``size`` pixels out of each image in another pose; labels keep their numbers (nearest neighbour).

    Args:
        size: of what comes out, ``len(S)`` numbers; what lies outside the image is 0 in image and label.
        rotation_deg: largest turn in the plane (about every axis in 3-D).
        scale: smallest and largest size of the anatomy in the result, as a factor.
        shift: largest shift along an axis as a part of ``size``.
        bend_px: standard deviation of a smooth deformation, in pixels.
        flip: probability of a mirror image, for each axis.
        batched: see :class:`BatchTransform`.

    Raises:
        ConfigError: a number outside its range, or a scale that is no smallest and largest one.
    """

    def __init__(
        self,
        size: Sequence[int],
        rotation_deg: float = 17.0,
        scale: Sequence[float] = (0.75, 1.4),
        shift: float = 0.2,
        bend_px: float = 1.5,
        flip: Sequence[float] = (0.0, 0.0),
        batched: bool = True,
    ) -> None:
        super().__init__(batched)
        self.size = check_numbers("size", size, least=1, whole=True)
        self.rotation_deg = check_number("rotation_deg", rotation_deg, least=0)
        self.scale = check_range("scale", scale, above=0)
        self.shift = check_number("shift", shift, least=0)
        self.bend_px = check_number("bend_px", bend_px, least=0)
        self.flip = check_numbers("flip", flip, least=0, most=1)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)``, ``(B, 1, *S)`` -> the same with ``*size``."""
        if len(self.size) != image.ndim - 2:
            raise ConfigError(f"Expected a size of {image.ndim - 2} numbers for images {tuple(image.shape[2:])}.")
        where = self._where(image, draws)
        placed = F.grid_sample(image, where, mode="bilinear", padding_mode="zeros", align_corners=False)
        if label is None:
            return placed, None
        number = F.grid_sample(label.float(), where, mode="nearest", padding_mode="zeros", align_corners=False)
        return placed, number.round().to(label.dtype)

    def _where(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Sampling positions ``(B, *size, dims)`` in the coordinates of ``grid_sample`` (last axis first)."""
        dims = len(self.size)
        out = Draws(int(draws.number(0, 2**31 - 1)), image.new_empty((len(image), 1, *self.size)))
        axes = [torch.arange(n, device=image.device, dtype=torch.float32) - (n - 1) / 2 for n in self.size]
        flat = torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(1, dims, -1)
        pixels = (self._matrix(draws, dims) @ flat).view(len(image), dims, *self.size)
        shift = draws.uniform(-self.shift, self.shift, dims)
        pixels = pixels + shift * image.new_tensor(self.size).view(1, -1, *[1] * dims)
        if self.bend_px:
            pixels = pixels + self.bend_px * out.field((20.0, 50.0), dims)
        half = image.new_tensor(image.shape[2:]).view(1, -1, *[1] * dims) / 2
        return (pixels / half).flip(1).movedim(1, -1)

    def _matrix(self, draws: Draws, dims: int) -> torch.Tensor:
        """``(B, dims, dims)`` from pixels of the result to pixels of the image."""
        zoom = 1 / draws.uniform(*self.scale).view(-1, 1, 1)
        planes = list(combinations(range(dims), 2))
        angles = [math.radians(self.rotation_deg) * draws.uniform(-1, 1).view(-1) for _ in planes]
        matrix = draws.turns(planes, angles)
        signs = [torch.where(draws.chance(p).view(-1), -1.0, 1.0) for p in (*self.flip, *[0.0] * dims)[:dims]]
        return matrix * zoom * torch.stack(signs, 1)[:, None, :]
