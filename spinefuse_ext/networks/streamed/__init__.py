"""How the blocks that this package knows are worked on strip by strip; what they compute stands beside this folder."""

from __future__ import annotations

from spinefuse_ext.networks.streamed import blocks, channel_attention, feed_forward, long_short_range
from spinefuse_ext.networks.streamed.registry import BLOCKS, FEED_FORWARDS, LONG_RANGES, MIXINGS, SHORT_RANGES

__all__ = [
    "BLOCKS",
    "FEED_FORWARDS",
    "LONG_RANGES",
    "MIXINGS",
    "SHORT_RANGES",
    "blocks",
    "channel_attention",
    "feed_forward",
    "long_short_range",
]
