"""The labelled stream of methods that teach two networks with different patients: both halves in every batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from torch.utils.data import Sampler

from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.validation import DatalistError

_PASSES = 10_000  # that an epoch may hold


class HalvesSampler(Sampler[int]):
    """Indices in random order, of half 0 and half 1 in turn, so that an even batch holds as many of each.

    One pass takes every item of the larger half once; items of the smaller one come again. Each process of a
    distributed training takes its share of the pairs.

    Args:
        data: items with ``half`` 0 or 1, as ``load_datalist(halves=True)`` gives them.
        seed: of the order, which differs from pass to pass.

    Raises:
        DatalistError: when an item has no half, or a half no item.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], seed: int = 0) -> None:
        halves = [item.get(CaseKeys.HALF) for item in data]
        self.indices = [[index for index, half in enumerate(halves) if half == value] for value in (0, 1)]
        if not all(self.indices) or sum(map(len, self.indices)) < len(data):
            raise DatalistError(
                f"Expected items of '{CaseKeys.HALF}' 0 and 1, got {sorted(set(map(str, halves)))}. "
                "Set halves of load_datalist to true."
            )
        self.seed = seed
        self.passes = 0

    def set_epoch(self, epoch: int) -> None:
        """Let the orders of the passes of an epoch follow from its number."""
        self.passes = epoch * _PASSES

    def __len__(self) -> int:
        return 2 * -(-max(map(len, self.indices)) // idist.get_world_size())

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.passes)
        self.passes += 1
        orders = [[half[n] for n in torch.randperm(len(half), generator=generator)] for half in self.indices]
        for number in range(len(self) // 2):
            place = idist.get_rank() + number * idist.get_world_size()
            yield from (order[place % len(order)] for order in orders)
