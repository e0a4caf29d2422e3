"""Small turns, zooms and shifts of whole batches, and mirror images: MONAI's, on plain tensors on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.validation import check_numbers, check_part

#: Axes that each rotation turns, the first towards the second.
_PLANES = {2: [(0, 1)], 3: [(1, 2), (2, 0), (0, 1)]}


class RandFlipd(BatchTransform):
    """Mirror each image and its label along some axes (``monai.transforms.RandFlipd``, axis after axis).

    Args:
        probability: for each spatial axis; axes without a number are not mirrored.
        batched: see :class:`BatchTransform`.
    """

    def __init__(self, probability: Sequence[float], batched: bool = True) -> None:
        super().__init__(batched)
        self.probability = check_numbers("probability", probability, least=0, most=1)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)``, ``(B, 1, *S)`` -> the same sizes."""
        for axis, chance in enumerate(self.probability[: len(draws.size)]):
            if not chance:
                continue
            mirrored = draws.chance(chance)
            image = torch.where(mirrored, image.flip(2 + axis), image)
            label = None if label is None else torch.where(mirrored, label.flip(2 + axis), label)
        return image, label


class RandAffined(BatchTransform):
    """Turn, zoom and shift each image about its centre; labels keep their numbers (``monai.transforms.RandAffined``).

    Each range holds the largest change either way, the numbers drawn evenly; what is not given is 0. What comes in from
    outside the image is 0 in image and label.

    Args:
        rotate_range: radians, of the plane in 2-D, in 3-D about the axes 0, 1, 2 in turn.
        scale_range: part by which each axis is stretched.
        translate_range_px: pixels along each axis.
        probability: how often an image is changed.
        batched: see :class:`BatchTransform`.
    """

    def __init__(
        self,
        rotate_range: Sequence[float] = (),
        scale_range: Sequence[float] = (),
        translate_range_px: Sequence[float] = (),
        probability: float = 0.5,
        batched: bool = True,
    ) -> None:
        super().__init__(batched)
        self.rotate_range = check_numbers("rotate_range", rotate_range, least=0)
        self.scale_range = check_numbers("scale_range", scale_range, least=0)
        self.translate_range_px = check_numbers("translate_range_px", translate_range_px, least=0)
        self.probability = check_part("probability", probability)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)``, ``(B, 1, *S)`` -> the same sizes."""
        chosen = draws.chance(self.probability)
        where = F.affine_grid(self._matrix(draws), [len(image), 1, *draws.size], align_corners=False)
        moved = F.grid_sample(image, where, mode="bilinear", padding_mode="zeros", align_corners=False)
        image = torch.where(chosen, moved, image)
        if label is None:
            return image, None
        number = F.grid_sample(label.to(image.dtype), where, mode="nearest", padding_mode="zeros", align_corners=False)
        return image, torch.where(chosen, number.to(label.dtype), label)

    def _matrix(self, draws: Draws) -> torch.Tensor:
        """``(B, dims, dims + 1)`` from the result's coordinates to the image's, as ``affine_grid`` has them."""
        dims = len(draws.size)
        turn = draws.turns(_PLANES[dims], self._drawn(self.rotate_range, draws))
        zoom = torch.stack([1 + part for part in self._drawn(self.scale_range, draws, dims)], 1)
        shift = torch.stack(self._drawn(self.translate_range_px, draws, dims), 1)
        half = draws.grid_size().view(1, dims) / 2
        pixels = torch.cat([turn * zoom[:, None, :], turn @ shift[..., None]], 2)  # shift, then turn, as MONAI does
        columns = torch.cat([half, torch.ones_like(half[:, :1])], 1)[:, None, :]
        units = pixels * columns / half[..., None]
        return torch.cat([units[..., :dims].flip(1, 2), units[..., dims:].flip(1)], 2)  # last axis first

    def _drawn(self, ranges: Sequence[float], draws: Draws, count: int | None = None) -> list[torch.Tensor]:
        """A number ``(B,)`` for each range, and 0 up to ``count``."""
        numbers = [draws.uniform(-largest, largest).view(-1) for largest in ranges[:count]]
        missing = 0 if count is None else count - len(numbers)
        return numbers + [torch.zeros(draws.batch, device=draws.device, dtype=draws.dtype)] * missing
