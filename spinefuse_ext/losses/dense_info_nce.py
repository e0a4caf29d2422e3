"""Contrast between the features of two networks, place by place (Min-Max Similarity, Lou et al., IEEE TMI 2023)."""

from __future__ import annotations

import torch
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.consistency import at_least_float32
from spinefuse_ext.validation import check_number, check_same_shape


class DenseInfoNCELoss(_Loss):
    """InfoNCE between two feature maps of one image: equal at equal places, different elsewhere.

    A place of one map is compared with ``num_tokens`` places of the other map of the same image. With ``positives``
    the same place is the one to find and the rest are negatives. Without, all are negatives, as for maps of two
    different images: the logit of the positive is the constant 0, and the loss only pushes the features apart.

    Departures from the published code: places are drawn at random, the same for both maps, instead of all, whose
    similarities would fill a gigabyte at 512 x 512; each map is the query once and the key, without gradient, once,
    and the mean is taken, so that both networks learn (there only the first does); without ``positives`` the same
    place is a negative as all others (there it is left out).

    Args:
        temperature: divides the similarities, above 0.
        num_tokens: places to draw; all where the map has no more.
        norm_order: of the norm over channels that features are divided by: 1 as in the code, 2 gives cosines.
        positives: whether equal places are equal.
    """

    def __init__(
        self, temperature: float = 0.07, num_tokens: int = 1024, norm_order: float = 1.0, positives: bool = True
    ) -> None:
        super().__init__()
        self.temperature = check_number("temperature", temperature, above=0)
        self.num_tokens = check_number("num_tokens", num_tokens, least=1, whole=True)
        self.norm_order = check_number("norm_order", norm_order, above=0)
        self.positives = positives

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Features ``(B, C, *S)`` of two networks -> scalar, in float32; a gradient reaches both.

        Raises:
            ValueError: when the two shapes differ.
        """
        check_same_shape(input=input, target=target)
        total = input[0, 0].numel()
        places = torch.randperm(total, device=input.device)[: self.num_tokens]
        with torch.autocast(input.device.type, enabled=False):  # which would multiply in half precision
            first, second = (self._tokens(features, places) for features in (input, target))
            return (self._contrast(first, second.detach()) + self._contrast(second, first.detach())) / 2

    def _tokens(self, features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """``(B, C, *S)`` -> normalised features of some places ``(B, T, C)``."""
        tokens = at_least_float32(features).flatten(2).index_select(2, places).transpose(1, 2)
        return torch.nn.functional.normalize(tokens, p=self.norm_order, dim=2)

    def _contrast(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Mean over queries ``(B, T, C)`` of the cross-entropy of finding the positive among the keys."""
        similarity = query @ key.transpose(1, 2) / self.temperature
        among = torch.logsumexp(similarity, dim=2)
        if self.positives:
            return (among - similarity.diagonal(dim1=1, dim2=2)).mean()
        return torch.nn.functional.softplus(among).mean()  # log(exp(0) + sum of exp(similarity)) - 0
