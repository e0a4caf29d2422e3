"""What looks like a spine and is none: bone, fluid and gas elsewhere in the body."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.synthesis.morphology import dilate, erode
from spinefuse_ext.validation import check_number, check_numbers, check_part


class RandDistractorsd(BatchTransform):
    """Paint ellipses and rods away from the structures, in the structures' own values of every channel.

    In a sagittal or coronal slice ribs are ovals, the ilium and the scapula are sheets, the head of the femur a disc,
    bowel holds gas and contrast, vessels and cysts hold fluid. A network that has not seen them calls them vertebra,
    disc or canal. Each shape has a core with the mean of a structure (or a random value), and a shell like bone's rim.
    Put it before :class:`RandContrastd`, so that both get one contrast.

    Args:
        count: most shapes in an image; each image draws how many.
        probability: how often an image gets any.
        distance_px: how far from a structure they stay.
        classes: numbers of the structures; the first is bone.
        batched: see :class:`BatchTransform`.
    """

    def __init__(
        self,
        count: int = 6,
        probability: float = 0.7,
        distance_px: int = 5,
        classes: Sequence[int] = tuple(STRUCTURES)[1:],
        batched: bool = True,
    ) -> None:
        super().__init__(batched)
        self.count = check_number("count", count, least=0, whole=True)
        self.probability = check_part("probability", probability)
        self.distance_px = check_number("distance_px", distance_px, least=0, whole=True)
        self.classes = check_numbers("classes", classes, least=0, whole=True)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)`` with shapes painted in; the label stays, as they belong to no structure."""
        if label is None:
            label = torch.zeros_like(image[:, :1]).long()
        free = dilate((label > 0).to(image.dtype), self.distance_px) == 0
        free &= draws.chance(self.probability)
        rim, cores = self._values(image, label, draws)
        for _ in range(self.count):
            solid, inner = _shape(draws)
            place = free & draws.chance(0.6)
            filled = cores[torch.arange(len(image)), draws.pick([2.0, *[1.0] * (cores.shape[1] - 1)])]
            texture = 1 + 0.15 * draws.field((2, 6))
            image = torch.where(place & solid, rim, image)
            image = torch.where(place & inner, filled * texture, image)
        return image, label

    def _values(self, image: torch.Tensor, label: torch.Tensor, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """Value of a shell ``(B, C, 1, ...)`` and of the possible cores ``(B, N, C, 1, ...)``."""
        bone = (label == self.classes[0]).to(image.dtype)
        core = erode(bone, 2)
        spare = draws.uniform(0.1, 0.9, image.shape[1])
        means = [_mean(image, core, spare)]
        means += [_mean(image, (label == number).to(image.dtype), spare) for number in self.classes[1:]]
        means += [draws.uniform(0.0, 1.0, image.shape[1]), torch.zeros_like(spare)]
        return _mean(image, bone - core, spare), torch.stack(means, 1)


def _mean(image: torch.Tensor, mask: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
    """Mean of each channel inside a mask, ``(B, C, 1, ...)``; ``spare`` where the mask is empty."""
    axes = tuple(range(2, image.ndim))
    amount = mask.sum(axes, keepdim=True)
    return torch.where(amount > 0, (image * mask).sum(axes, keepdim=True) / amount.clamp(min=1), spare)


def _shape(draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
    """A turned ellipse (a rod, a sheet, a ball) and what its shell encloses: bool ``(B, 1, *S)`` each."""
    dims, longest = len(draws.size), max(draws.size)
    axes = [torch.arange(n, device=draws.device, dtype=draws.dtype) for n in draws.size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    size = draws.grid_size()
    offset = grid - draws.uniform(0, 1, dims) * size
    direction = draws.normal(dims)
    direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-6)
    along = (offset * direction).sum(1, keepdim=True)
    across = (offset.square().sum(1, keepdim=True) - along.square()).clamp(min=0).sqrt()
    across = across + 0.024 * longest * draws.field((12, 40))
    width = longest * 0.15 * draws.uniform(0.15, 1.0) ** 1.5
    length = width * (1 + 5 * draws.uniform() ** 3)
    level = torch.sqrt((across / width).square() + (along / length).square())
    shell = draws.uniform(0.8, 4.0)
    return level < 1, (1 - level) * width > shell
