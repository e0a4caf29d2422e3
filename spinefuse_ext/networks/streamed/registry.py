"""Which modules can be worked on in strips, and how: tables by type, one for each part that a module plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from spinefuse_ext.networks.strips import LocalFunction

Way = TypeVar("Way")


class Block(Protocol):
    """A whole block, ``(B, C, *S) -> (B, C, *S)``; the result takes the memory of ``x`` if it may ``overwrite`` it."""

    def __call__(self, x: torch.Tensor, overwrite: bool) -> torch.Tensor: ...


#: Adds what mixing makes of ``norm(x)`` to one image ``x`` ``(1, C, *S)`` in place; yields how many rows are done.
Mixing = Callable[[torch.Tensor, nn.Module], Iterator[int]]


@dataclass(frozen=True)
class FeedForward:
    """A local function in two parts.

    Attributes:
        hidden: what the last layer is given: ``(B, C, *S) -> (B, hidden, *S)``.
        add_output: adds to a total ``(B, C, *S)``, in place, what the last layer makes of ``hidden``, voxel by voxel.
    """

    hidden: LocalFunction
    add_output: Callable[[torch.Tensor, torch.Tensor], None]


#: Of one image ``(1, C, *S)`` to the function that gives some of its rows what they find in the whole image.
LongRange = Callable[[torch.Tensor], LocalFunction]


@dataclass(frozen=True)
class ShortRange:
    """A function that sees its neighbours, and of the whole image the mean of each channel.

    Attributes:
        local: all up to where the mean is needed: ``(1, C, *S)`` kept.
        finish: the rest, given ``local`` and its mean ``(1, C)``.
    """

    local: LocalFunction
    finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Table(Generic[Way]):
    """Types of modules and how each is worked on in strips.

    A subclass is not known by its base class: it may compute something else.
    """

    def __init__(self) -> None:
        self._ways: dict[type[nn.Module], Callable[[Any], Way | None]] = {}

    def register(self, *types: type[nn.Module]) -> Callable[[Callable[[Any], Way | None]], Callable[[Any], Way | None]]:
        """Decorate what takes a module of one of ``types`` and returns how it runs, None where a child is not known."""

        def add(way_of: Callable[[Any], Way | None]) -> Callable[[Any], Way | None]:
            self._ways.update(dict.fromkeys(types, way_of))
            return way_of

        return add

    def find(self, module: nn.Module) -> Way | None:
        """How ``module`` is worked on in strips; None when it has to run plainly."""
        way_of = self._ways.get(type(module))
        return None if way_of is None else way_of(module)


BLOCKS: Table[Block] = Table()
MIXINGS: Table[Mixing] = Table()
FEED_FORWARDS: Table[FeedForward] = Table()
LONG_RANGES: Table[LongRange] = Table()
SHORT_RANGES: Table[ShortRange] = Table()
