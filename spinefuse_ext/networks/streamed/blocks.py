"""Whole blocks strip by strip: transformer blocks, and the detail encoders."""

from __future__ import annotations

from functools import partial

import torch

from spinefuse_ext.networks.detail import AffineCoupling, CouplingDetailEncoder, DetailEncoder
from spinefuse_ext.networks.lite_transformer import DenseRestormerBlock, LiteTransformerBlock
from spinefuse_ext.networks.restormer import PreNormBlock, RestormerBlock, channels_last
from spinefuse_ext.networks.streamed.registry import BLOCKS, FEED_FORWARDS, MIXINGS, Block, FeedForward, Mixing
from spinefuse_ext.networks.strips import LocalFunction, add_in_strips, each_item, reach, run_in_strips, strips


@BLOCKS.register(PreNormBlock, RestormerBlock, LiteTransformerBlock, DenseRestormerBlock)
def _pre_norm(block: PreNormBlock) -> Block | None:
    mixing, feed_forward = MIXINGS.find(block.mixing), FEED_FORWARDS.find(block.feed_forward)
    if mixing is None or feed_forward is None:
        return None

    def run(x: torch.Tensor, overwrite: bool) -> torch.Tensor:
        # MONAI's tensors with meta data are slow to cut
        plain = channels_last((x if overwrite else x.clone()).as_subclass(torch.Tensor))
        for item in plain.split(1):
            _update(block, mixing, feed_forward, item)
        return plain.as_subclass(type(x))

    return run


def _update(block: PreNormBlock, mixing: Mixing, feed_forward: FeedForward, x: torch.Tensor) -> None:
    """Both steps of ``block`` on one image ``(1, C, *S)``, in place."""
    halo, mixed_rows = reach(block.feed_forward), 0
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
    mixed = mixing(x, block.mixing_norm)
    for strip in strips(x, halo):
        while mixed_rows < min(strip.last + halo, x.shape[2]):
            mixed_rows = next(mixed)
        hidden = strip.core(feed_forward.hidden(block.feed_forward_norm(strip.take(x))))
        if waiting:  # the strip before, whose last rows were still to be seen as they were
            feed_forward.add_output(*waiting.pop())
        waiting.append((strip.rows(x), hidden))
    feed_forward.add_output(*waiting.pop())


@BLOCKS.register(DetailEncoder)
def _residual(encoder: DetailEncoder) -> Block:
    return _local(partial(add_in_strips, encoder.conv, halo=reach(encoder.conv), rows_per_halo=32))


@BLOCKS.register(AffineCoupling)
def _coupling(coupling: AffineCoupling) -> Block:
    halo = reach(coupling.shuffle) + reach(coupling.offset) + max(reach(coupling.log_scale), reach(coupling.shift))
    return _local(partial(run_in_strips, coupling.forward, halo=halo))


@BLOCKS.register(CouplingDetailEncoder)
def _couplings(encoder: CouplingDetailEncoder) -> Block | None:
    parts = [part for part in map(BLOCKS.find, encoder.children()) if part is not None]
    if len(parts) < len(encoder):
        return None

    def run(x: torch.Tensor, overwrite: bool) -> torch.Tensor:
        for part in parts:
            x = part(x, overwrite)
        return x

    return run


def _local(function: LocalFunction) -> Block:
    """``function`` takes one image; its result has memory of its own."""
    return lambda x, overwrite: each_item(function, channels_last(x))
