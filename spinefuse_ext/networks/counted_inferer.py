"""How far a network is on its way through a volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SlidingWindowInferer

from spinefuse_ext.progress_bar import progress_bar, stage_title


class CountedInferer(Inferer):
    """Another inferer, whose windows are counted on a progress bar with the title of the stage.

    Args:
        inferer: MONAI's ``SlidingWindowInferer`` or ``SliceInferer``.
        size: of its windows, one number for each axis that they have.
        slice_axis: axis of the volume that windows do not have, None for windows with all axes.
    """

    def __init__(self, inferer: SlidingWindowInferer, size: Sequence[int], slice_axis: int | None = None) -> None:
        super().__init__()
        self.inferer, self.size, self.slice_axis = inferer, list(size), slice_axis

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> torch.Tensor | tuple[torch.Tensor, ...] | dict[Any, torch.Tensor]:
        """Image ``(B, C, *S)`` -> what the network makes of it."""
        with progress_bar(total=self._windows(inputs.shape), title=stage_title(), unit="window") as bar:

            def counted(window: torch.Tensor, *more: Any, **options: Any) -> Any:
                made = network(window, *more, **options)
                bar.update(len(window))
                return made

            return self.inferer(inputs, counted, *args, **kwargs)

    def _windows(self, shape: Sequence[int]) -> int:
        """How many windows cover a batch ``(B, C, *S)``, as MONAI lays them."""
        sizes = list(self.size)
        if self.slice_axis is not None:
            sizes.insert(self.slice_axis, 1)
        overlap = self.inferer.overlap
        shares = list(overlap) if isinstance(overlap, Sequence) else [overlap] * len(sizes)
        counts = [
            1 if side <= size else math.ceil((side - size) / max(1, int(size * (1 - share)))) + 1
            for side, size, share in zip(shape[2:], sizes, shares, strict=True)
        ]
        return int(shape[0]) * math.prod(counts)
