"""The CDDFuse composition as one writes it down first: one operation after another, whole images, channels first.

Works on the modules of ``SpineFusionNet(base="cddfuse", detail="inn")`` and gives its result, so that the benchmark can
say what the package's way of computing it is worth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def naive_norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    deviation = x - x.mean(1, keepdim=True)
    variance = x.var(1, unbiased=False, keepdim=True)
    return deviation / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def naive_attention(attention: Any, x: torch.Tensor) -> torch.Tensor:
    mixed = attention.qkv_dwconv(attention.qkv(x))
    query, key, value = (part.reshape(len(x), attention.num_heads, -1, x[0, 0].numel()) for part in mixed.chunk(3, 1))
    cosines = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
    attended = (cosines * attention.temperature).softmax(-1) @ value
    return attention.project_out(attended.reshape(x.shape))


def naive_feed_forward(feed: Any, x: torch.Tensor) -> torch.Tensor:
    gate, value = feed.dwconv(feed.project_in(x)).chunk(2, 1)
    return feed.project_out(F.gelu(gate) * value)


def naive_block(block: Any, x: torch.Tensor) -> torch.Tensor:
    x = x + naive_attention(block.mixing, naive_norm(block.mixing_norm, x))
    return x + naive_feed_forward(block.feed_forward, naive_norm(block.feed_forward_norm, x))


def naive_bottleneck(bottleneck: Any, x: torch.Tensor) -> torch.Tensor:
    widen, _, local, _, narrow = bottleneck
    x = F.pad(F.relu6(widen(x)), [1, 1, 1, 1], mode="reflect")
    return narrow(F.relu6(local(x)))


def naive_detail(couplings: Any, x: torch.Tensor) -> torch.Tensor:
    for coupling in couplings:
        first, second = coupling.shuffle(x).chunk(2, 1)
        second = second + naive_bottleneck(coupling.offset, first)
        scale = naive_bottleneck(coupling.log_scale, second).exp()
        x = torch.cat((first * scale + naive_bottleneck(coupling.shift, second), second), 1)
    return x


def naive_encoder(encoder: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = encoder.embedding(image)
    for block in encoder.shared:
        x = naive_block(block, x)
    return naive_block(encoder.base, x), naive_detail(encoder.detail, x)


class NaiveCDDFuse(nn.Module):
    """Pair ``(B, 2, H, W)`` in [0, 1] to the fused image ``(B, 1, H, W)`` of ``network``, whose weights it shares."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        network: Any = self.network
        base_ct, detail_ct = naive_encoder(network.encoder, pair[:, :1])
        base_mr, detail_mr = naive_encoder(network.encoder, pair[:, 1:])
        base = naive_block(network.base_fusion, base_ct + base_mr)
        detail = naive_detail(network.detail_fusion, detail_ct + detail_mr)
        x = network.decoder.reduce(torch.cat((base, detail), 1))
        for block in network.decoder.blocks:
            x = naive_block(block, x)
        return network.decoder.head(x).sigmoid()
