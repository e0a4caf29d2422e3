"""How a block is run: plainly, recomputed in the backward pass, or strip by strip. What it computes is the same."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from spinefuse_ext.networks.streamed import BLOCKS
from spinefuse_ext.networks.strips import in_strips


def run(block: nn.Module, x: torch.Tensor, *, checkpointing: bool = False, overwrite: bool = False) -> torch.Tensor:
    """``block(x)``, ``(B, C, *S) -> (B, C, *S)``, equal up to rounding.

    Large images on a CPU go through in strips, without gradients, if the block's type and those of its children are in
    the tables of :mod:`spinefuse_ext.networks.streamed`; all other blocks run as they are.

    Args:
        block: any module of one tensor.
        x: features.
        checkpointing: forget what the block computes on the way and compute it again in the backward pass.
        overwrite: whether the result may take the memory of ``x``.
    """
    if torch.is_grad_enabled():
        return checkpoint(block, x, use_reentrant=False) if checkpointing else block(x)
    in_parts = BLOCKS.find(block) if in_strips(x) else None
    return block(x) if in_parts is None else in_parts(x, overwrite)


def run_chain(
    blocks: Iterable[nn.Module], x: torch.Tensor, *, checkpointing: bool = False, overwrite: bool = False
) -> torch.Tensor:
    """One block after another; each may overwrite what the one before it made, the first ``x`` if it is told so."""
    given = None if overwrite else x
    for block in blocks:
        owned = in_strips(x) and (given is None or not _share_memory(x, given))
        x = run(block, x, checkpointing=checkpointing, overwrite=owned)
    return x


def _share_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
