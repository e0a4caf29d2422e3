"""Pairs of CT and MR as other windows, contrasts and registrations would have given them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.validation import ConfigError, check_number, check_part, check_range

# where a narrower window begins and how wide it is, as parts of the given one
_WINDOW_LOW, _WINDOW_WIDTH = (0.02, 0.12), (0.08, 0.5)
# an inverted MR is so bright, as a part of the range
_INVERTED = (0.4, 0.9)
# what is below this part of the range is air, which stays black
_AIR = 0.01


class RandPaird(BatchTransform):
    """Change each pair ``(B, 2, *S)`` in [0, 1], CT first: its CT window, its MR contrast, how well both lie together.

    Air, which is 0, stays so. All numbers are drawn evenly up to those given, but for shift and turn, which are normal.

    Args:
        window_probability: how often the CT is seen in a window half as wide to a twelfth: bone is white all over.
        invert_probability: how often bright and dark of the MR change places, as T1 and T2 do.
        gamma: smallest and largest power that the MR is raised to.
        noise: largest standard deviation of the noise of both.
        shift: standard deviation of the shift of the MR, as a part of half the image; of the turn in radians too.
        batched: see :class:`BatchTransform`.

    Raises:
        ConfigError: a probability outside 0 to 1, or powers that do not rise from above 0.
    """

    def __init__(
        self,
        window_probability: float = 0.7,
        invert_probability: float = 0.25,
        gamma: Sequence[float] = (0.5, 1.5),
        noise: float = 0.05,
        shift: float = 0.015,
        batched: bool = True,
    ) -> None:
        super().__init__(batched)
        self.window_probability = check_part("window_probability", window_probability)
        self.invert_probability = check_part("invert_probability", invert_probability)
        self.gamma = check_range("gamma", gamma, above=0)
        self.noise, self.shift = check_number("noise", noise, least=0), check_number("shift", shift, least=0)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, 2, *S)`` -> the same size, in [0, 1]; the label, which lies on the CT, stays."""
        if image.shape[1] != 2:
            raise ConfigError(f"Expected pairs of 2 channels, CT and MR, got images of {image.shape[1]}.")
        ct, mr = image.split(1, dim=1)
        return torch.cat((self._ct(ct, draws), self._mr(mr, draws)), dim=1), label

    def _ct(self, ct: torch.Tensor, draws: Draws) -> torch.Tensor:
        windowed = (ct - draws.uniform(*_WINDOW_LOW)) / draws.uniform(*_WINDOW_WIDTH)
        seen = torch.where(draws.chance(self.window_probability), windowed, ct)
        return self._noisy(seen, ct, draws)

    def _mr(self, mr: torch.Tensor, draws: Draws) -> torch.Tensor:
        mr = self._moved(mr, draws)
        inverted = (1 - mr) * draws.uniform(*_INVERTED)
        seen = torch.where(draws.chance(self.invert_probability), inverted, mr)
        power, factor = draws.uniform(*self.gamma), draws.uniform(0.7, 1.3)
        return self._noisy(seen.clamp(min=0) ** power * factor, mr, draws)

    def _noisy(self, seen: torch.Tensor, before: torch.Tensor, draws: Draws) -> torch.Tensor:
        noise = draws.uniform(0, self.noise) * draws.noise()
        return torch.where(before > _AIR, seen + noise, 0.0).clamp(0, 1)

    def _moved(self, mr: torch.Tensor, draws: Draws) -> torch.Tensor:
        axes = len(draws.size)
        angle = self.shift * draws.normal().flatten()
        shift = self.shift * draws.normal(axes).flatten(1)[..., None]
        way = torch.cat((draws.turns([(0, 1)], [angle]), shift), dim=2)
        grid = F.affine_grid(way, list(mr.shape), align_corners=False)
        return F.grid_sample(mr, grid, padding_mode="border", align_corners=False)
