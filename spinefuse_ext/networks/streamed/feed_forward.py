"""Feed-forwards in two parts, so that the last layer adds to the features while it writes them."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from spinefuse_ext.networks.kernels import add_convolution, gated_convolution, gelu_of_convolution, kernel_of
from spinefuse_ext.networks.lite_transformer import FlatFeedForward
from spinefuse_ext.networks.restormer import GatedFeedForward
from spinefuse_ext.networks.streamed.registry import FEED_FORWARDS, FeedForward


@FEED_FORWARDS.register(GatedFeedForward)
def _gated(layers: GatedFeedForward) -> FeedForward:
    (wide, wide_bias), (local, local_bias) = kernel_of(layers.project_in), kernel_of(layers.dwconv)

    def hidden(x: torch.Tensor) -> torch.Tensor:
        return gated_convolution(x, wide, wide_bias, local, local_bias)

    return FeedForward(hidden, partial(_add_output, layers.project_out))


@FEED_FORWARDS.register(FlatFeedForward)
def _flat(layers: FlatFeedForward) -> FeedForward:
    weight, bias = kernel_of(layers[0])
    return FeedForward(lambda x: gelu_of_convolution(x, weight, bias), partial(_add_output, layers[2]))


def _add_output(layer: nn.Module, total: torch.Tensor, hidden: torch.Tensor) -> None:
    weight, bias = kernel_of(layer)
    add_convolution(total, hidden, weight, bias)
