"""Local functions of large images strip by strip, so that what they compute on the way stays in the CPU's cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

#: Voxels of one strip in float32, twice as many in half precision. At 64 channels a strip is 8 MB and the widest buffer
#: of a block 16 MB: halves of that were slower, as more rows are computed twice at the edges of a strip.
STRIP_VOXELS = 32768
#: A strip has at least this many rows for each row that it needs of its neighbours.
ROWS_PER_HALO = 8


LocalFunction = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Strip:
    """Rows ``first`` to ``last`` (not included) of an image, and up to ``halo`` rows around them inside the image."""

    first: int
    last: int
    halo: int

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """``(1, C, *S) -> (1, C, rows, ...)``; a view."""
        return x[:, :, self.first : self.last]

    def take(self, x: torch.Tensor) -> torch.Tensor:
        """``(1, C, *S) -> (1, C, rows and halo, ...)``; a view."""
        return x[:, :, max(self.first - self.halo, 0) : self.last + self.halo]

    def core(self, y: torch.Tensor) -> torch.Tensor:
        """``(1, C, rows and halo, ...) -> (1, C, rows, ...)``; a view."""
        above = min(self.first, self.halo)
        return y[:, :, above : above + self.last - self.first]


def eager_on_cpu(x: torch.Tensor) -> bool:
    """Whether ``x`` is on a CPU and each operation runs at once, without tracing or compilation."""
    tracing = torch.jit.is_tracing()
    return x.device.type == "cpu" and not tracing and not torch.compiler.is_compiling()


def is_exporting() -> bool:
    """Whether ``torch.export`` is at work, which ONNX files are made by; before torch 2.7 any compilation counts."""
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def in_strips(x: torch.Tensor) -> bool:
    """Whether ``x`` ``(B, C, *S)`` is to be worked on in strips: large, on a CPU, and no gradients are asked for.

    In float32 an image of a single strip gains too, by inner products of each head alone and by work in place; in half
    precision, whose products are fast, it loses.
    """
    least = STRIP_VOXELS // 4 if x.dtype == torch.float32 else 2 * STRIP_VOXELS
    return eager_on_cpu(x) and not torch.is_grad_enabled() and math.prod(x.shape[2:]) >= least


def strips(x: torch.Tensor, halo: int, rows_per_halo: int = ROWS_PER_HALO) -> Iterator[Strip]:
    """The strips along the first spatial axis that together are all of ``x`` ``(1, C, *S)``."""
    size = x.shape[2]
    voxels = STRIP_VOXELS * torch.float32.itemsize // x.element_size()
    rows = max(voxels // math.prod(x.shape[3:]), rows_per_halo * halo, 1)
    for first in range(0, size, rows):
        yield Strip(first, min(first + rows, size), halo)


def run_in_strips(
    function: LocalFunction, x: torch.Tensor, halo: int, rows_per_halo: int = ROWS_PER_HALO
) -> torch.Tensor:
    """``function(x)``, evaluated strip by strip: ``(1, C, *S) -> (1, C, *S)``, equal up to rounding.

    Args:
        function: keeps the shape; each row of its result depends on ``halo`` rows above and below and no others, and
            what it pads at the border of the image, zeros or a reflection, it pads at the border of what it is given.
        x: one image.
        halo: see ``function``.
        rows_per_halo: rows of a strip for each row of ``halo``, at least; more where each is dear.
    """
    out = torch.empty_like(x)
    for strip in strips(x, halo, rows_per_halo):
        strip.rows(out).copy_(strip.core(function(strip.take(x))))
    return out


def add_in_strips(
    function: LocalFunction, x: torch.Tensor, halo: int, rows_per_halo: int = ROWS_PER_HALO
) -> torch.Tensor:
    """``x + function(x)`` in the same way, with the same arguments."""
    out = torch.empty_like(x)
    for strip in strips(x, halo, rows_per_halo):
        torch.add(strip.rows(x), strip.core(function(strip.take(x))), out=strip.rows(out))
    return out


def each_item(function: LocalFunction, x: torch.Tensor) -> torch.Tensor:
    """``function`` of each ``(1, C, *S)`` in the batch, one after another: ``(B, C, *S) -> (B, C, *S)``.

    MONAI's tensors with meta data are slow to cut, so ``function`` gets plain ones.
    """
    items = x.as_subclass(torch.Tensor).split(1)
    out = function(items[0]) if len(items) == 1 else torch.cat([function(item) for item in items])
    return out.as_subclass(type(x))


def reach(module: nn.Module) -> int:
    """How many rows above and below the convolutions in ``module`` see at most, one after another."""
    convolutions = (nn.Conv2d, nn.Conv3d)
    return sum(layer.kernel_size[0] // 2 for layer in module.modules() if isinstance(layer, convolutions))
