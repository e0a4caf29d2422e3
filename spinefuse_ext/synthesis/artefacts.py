"""What scanners do to an image: shading, blur, thick slices, noise, another scale of grey, a cut or folded field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.synthesis.morphology import spread
from spinefuse_ext.validation import check_number, check_numbers, check_part

_LINEAR = {2: "bilinear", 3: "trilinear"}


class RandScand(BatchTransform):
    """Shading, gamma, low resolution, streaks, noise, then grey levels from 0 to 1, as inference scales them.

    Ends a little below 1 in most images, since a fixed window of HU seldom fills the scale.

    Args:
        shading: strength of the smooth bias field (logarithm of the factor), in half of the images.
        gamma: standard deviation of the logarithm of gamma.
        coarsest: largest factor by which the resolution is lowered, along one axis alone or along all, in half.
        noise: largest standard deviation of the noise, as a part of the grey scale.
        streaks: probability of parallel streaks, as metal or motion leaves them.
        fold: probability of a folded field (wrap-around of MR).
        batched: see :class:`BatchTransform`.
    """

    def __init__(
        self,
        shading: float = 0.35,
        gamma: float = 0.4,
        coarsest: float = 3.0,
        noise: float = 0.15,
        streaks: float = 0.05,
        fold: float = 0.03,
        batched: bool = True,
    ) -> None:
        super().__init__(batched)
        self.shading = check_number("shading", shading, least=0)
        self.gamma = check_number("gamma", gamma, least=0)
        self.coarsest = check_number("coarsest", coarsest, least=1)
        self.noise = check_number("noise", noise, least=0)
        self.streaks, self.fold = check_part("streaks", streaks), check_part("fold", fold)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)`` -> the same size, values in [0, 1]."""
        bias = torch.exp(self.shading * draws.field((40, 90)) * draws.chance(0.5))
        image = grey_scale(image * bias, draws)
        image = image ** torch.exp(self.gamma * draws.normal())
        image = _coarse(image, self.coarsest, draws)
        image = image + 0.6 * spread(image) * _streaks(draws) * draws.chance(self.streaks)
        folded = image + 0.4 * torch.roll(image, draws.size[-1] // 2, -1)
        image = torch.where(draws.chance(self.fold), folded, image)
        image = image + draws.noise() * self.noise * draws.uniform() ** 2
        return grey_scale(image, draws) * draws.uniform(0.6, 1.0), label


class RandCutd(BatchTransform):
    """Show a part of the image alone, the rest 0 in image and label: slabs, small fields, the border of a volume.

    Args:
        probability: how often an image is cut.
        smallest_px: shortest side of what is shown, along each axis.
        batched: see :class:`BatchTransform`.
    """

    def __init__(self, smallest_px: Sequence[int], probability: float = 0.35, batched: bool = True) -> None:
        super().__init__(batched)
        self.smallest_px = check_numbers("smallest_px", smallest_px, least=1, whole=True)
        self.probability = check_part("probability", probability)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)``, ``(B, 1, *S)`` -> the same sizes."""
        shown = torch.ones_like(image[:, :1], dtype=torch.bool)
        for axis, (length, least) in enumerate(zip(draws.size, self.smallest_px, strict=True)):
            least = min(least, length)
            side = least + (length - least) * draws.uniform() ** 2  # small ones are as frequent as large ones
            start = draws.uniform() * (length - side)
            shape = [1, 1, *[1] * len(draws.size)]
            shape[2 + axis] = length
            place = torch.arange(length, device=image.device).view(shape)
            shown = shown & (place >= start) & (place < start + side)
        shown = shown | ~draws.chance(self.probability)
        return image * shown, None if label is None else label * shown


def grey_scale(image: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Scale each image to [0, 1] by quantiles a little different each time; a constant image becomes 0."""
    low, high = draws.number(0.0, 0.02), draws.number(0.975, 1.0)
    values = image.flatten(1)[:, ::5]
    ends = torch.quantile(values, torch.tensor([low, high], device=image.device), dim=1)
    bottom, top = (end.view(-1, *[1] * (image.ndim - 1)) for end in ends)
    return ((image - bottom) / (top - bottom + 1e-4)).clamp(0, 1)


def _coarse(image: torch.Tensor, coarsest: float, draws: Draws) -> torch.Tensor:
    """Half of the images at a lower resolution, of one axis or of all; one factor for the batch."""
    factors = [draws.number(1, coarsest) if draws.number(0, 1) < 0.7 else 1.0 for _ in draws.size]
    size = [max(4, round(length / factor)) for length, factor in zip(draws.size, factors, strict=True)]
    small = F.interpolate(image, size, mode="area")
    back = F.interpolate(small, draws.size, mode=_LINEAR[len(draws.size)], align_corners=False)
    return torch.where(draws.chance(0.5), back, image)


def _streaks(draws: Draws) -> torch.Tensor:
    """Waves along a random direction, stronger in a smooth patch, ``(B, 1, *S)``."""
    dims = len(draws.size)
    axes = [torch.arange(n, device=draws.device, dtype=draws.dtype) for n in draws.size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    direction = draws.normal(dims)
    direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-6)
    phase = (grid * direction).sum(1, keepdim=True) * draws.uniform(0.3, 1.5)
    return torch.sin(phase + 3 * draws.field((15, 40))) * draws.field((20, 60)).clamp(min=0)
