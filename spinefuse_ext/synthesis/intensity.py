"""Changes of the intensities alone, each image of a batch in its own way: MONAI's, on plain tensors on the device."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch.nn import functional as F

from spinefuse_ext.channels import held
from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.validation import check_number, check_part, check_range

_CONVOLVE = {2: F.conv2d, 3: F.conv3d}
_WIDTHS = 4.0  # sigmas that a Gaussian kernel reaches to each side


class IntensityTransform(BatchTransform):
    """Change the intensities of ``image`` ``(B, C, *S)``, of each image with a probability; the label stays.

    A channel that is 0 everywhere is an image that is missing, and stays so.

    Args:
        probability: how often an image is changed, 0 to 1.
        batched: see :class:`BatchTransform`.

    Raises:
        ConfigError: a probability outside 0 to 1.
    """

    def __init__(self, probability: float = 0.5, batched: bool = True) -> None:
        super().__init__(batched)
        self.probability = check_part("probability", probability)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)`` -> the same size."""
        change = draws.chance(self.probability) & held(image)
        return torch.where(change, self.changed(image, draws), image), label

    @abstractmethod
    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        """``(B, C, *S)`` -> all of them changed."""


class RandGammad(IntensityTransform):
    """Raise the intensities, between the smallest and the largest of an image, to a power (``RandAdjustContrastd``).

    Args:
        gamma: smallest and largest power, above 0.
        probability: how often an image is changed.
        batched: see :class:`BatchTransform`.
    """

    def __init__(self, gamma: Sequence[float], probability: float = 0.5, batched: bool = True) -> None:
        super().__init__(probability, batched)
        self.gamma = check_range("gamma", gamma, above=0)

    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        flat = image.flatten(1)
        bottom, top = (ends.view(-1, *[1] * (image.ndim - 1)) for ends in (flat.amin(1), flat.amax(1)))
        between = (image - bottom) / (top - bottom + 1e-7)
        return between ** draws.uniform(*self.gamma) * (top - bottom) + bottom


class RandFactord(IntensityTransform):
    """Multiply the intensities by ``1 + f``, f up to ``factor`` either way (``RandScaleIntensityd``)."""

    def __init__(self, factor: float, probability: float = 0.5, batched: bool = True) -> None:
        super().__init__(probability, batched)
        self.factor = check_number("factor", factor, least=0)

    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        return image * (1 + draws.uniform(-self.factor, self.factor))


class RandOffsetd(IntensityTransform):
    """Add a number up to ``offset`` either way to the intensities (``RandShiftIntensityd``)."""

    def __init__(self, offset: float, probability: float = 0.5, batched: bool = True) -> None:
        super().__init__(probability, batched)
        self.offset = check_number("offset", offset, least=0)

    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        return image + draws.uniform(-self.offset, self.offset)


class RandNoised(IntensityTransform):
    """Add Gaussian noise, its standard deviation drawn up to ``deviation`` (``RandGaussianNoised``)."""

    def __init__(self, deviation: float, probability: float = 0.3, batched: bool = True) -> None:
        super().__init__(probability, batched)
        self.deviation = check_number("deviation", deviation, least=0)

    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        return image + draws.uniform(0, self.deviation) * draws.noise(image.shape[1])


class RandShadingd(IntensityTransform):
    """Multiply by the exponential of a polynomial of the place, one field for all channels (``RandBiasFieldd``).

    Args:
        coefficient: smallest and largest coefficient of the products of Legendre polynomials.
        degree: in 2-D the largest degree along the first axis, which that along the second does not exceed; in 3-D the
            largest sum of the degrees; at least 1.
        probability: how often an image is changed.
        batched: see :class:`BatchTransform`.
    """

    def __init__(
        self, coefficient: Sequence[float], degree: int = 3, probability: float = 0.5, batched: bool = True
    ) -> None:
        super().__init__(probability, batched)
        self.coefficient = check_range("coefficient", coefficient)
        self.degree = check_number("degree", degree, least=1, whole=True)

    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        places = [torch.linspace(-1, 1, n, device=draws.device, dtype=draws.dtype) for n in draws.size]
        axes = [_legendre(place, self.degree) for place in places]
        powers = self._powers(len(axes))
        low, high = self.coefficient
        weights = torch.zeros((draws.batch, *[self.degree + 1] * len(axes)), device=draws.device, dtype=draws.dtype)
        drawn = draws.uniform(low, high, len(powers)).flatten(1)
        for number, place in enumerate(powers):
            entry: Any = (slice(None), *place)
            weights[entry] = drawn[:, number]
        for axis in axes:  # the first axis of coefficients becomes the last one, of places
            weights = torch.tensordot(weights, axis, dims=([1], [0]))
        return image * torch.exp(weights)[:, None]

    def _powers(self, dims: int) -> list[tuple[int, ...]]:
        """Degrees along each axis of every product; in 2-D those of MONAI, whose first degree is the larger one."""
        every = product(range(self.degree + 1), repeat=dims)
        if dims == 2:
            return [place for place in every if place[1] <= place[0]]
        return [place for place in every if sum(place) <= self.degree]


class RandBlurd(IntensityTransform):
    """Blur by a Gaussian, its width drawn for each axis (``RandGaussianSmoothd``); 0 lies around the image.

    Args:
        sigma_px: smallest and largest standard deviation in pixels, above 0.
        probability: how often an image is changed.
        batched: see :class:`BatchTransform`.
    """

    def __init__(self, sigma_px: Sequence[float], probability: float = 0.3, batched: bool = True) -> None:
        super().__init__(probability, batched)
        self.sigma_px = check_range("sigma_px", sigma_px, above=0)

    def changed(self, image: torch.Tensor, draws: Draws) -> torch.Tensor:
        dims, channels = len(draws.size), image.shape[1]
        reach = int(self.sigma_px[1] * _WIDTHS + 0.5)
        place = torch.arange(-reach, reach + 1, device=draws.device, dtype=draws.dtype)
        stacked = image.reshape(1, -1, *draws.size)
        for axis in range(dims):
            sigma = draws.uniform(*self.sigma_px).view(-1, 1) * math.sqrt(2)
            kernel = (torch.erf((place + 0.5) / sigma) - torch.erf((place - 0.5) / sigma)) / 2  # (B, 2 reach + 1)
            shape, padding = [1] * dims, [0] * dims
            shape[axis], padding[axis] = len(place), reach
            kernel = kernel.repeat_interleave(channels, 0).view(-1, 1, *shape)
            stacked = _CONVOLVE[dims](stacked, kernel, padding=padding, groups=len(kernel))
        return stacked.view_as(image)


def _legendre(x: torch.Tensor, degree: int) -> torch.Tensor:
    """Legendre polynomials of degree 0 to ``degree`` at ``x`` ``(n,)`` -> ``(degree + 1, n)``."""
    found = [torch.ones_like(x), x]
    for number in range(1, degree):
        found.append(((2 * number + 1) * x * found[-1] - number * found[-2]) / (number + 1))
    return torch.stack(found)
