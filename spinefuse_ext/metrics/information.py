"""Scores of information theory: entropy of the fused image, and what it shares with its sources."""

from __future__ import annotations

import math

import torch

from spinefuse_ext.metrics.convention import (
    Convention,
    check_images,
    convention_of,
    grey_levels,
    paired_levels,
    whole_levels,
)

GREY_LEVELS = 256
# above this many cells a joint histogram is counted by sorting instead
_DENSE_CELLS = 2**20


def entropy(
    fused: torch.Tensor,
    sources: torch.Tensor | None = None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Shannon entropy in bits of 256 grey levels: ``(B, 1, *S) -> (B,)`` in [0, 8] (formula 6 of the paper).

    Both conventions agree. Values are rounded half to even to 8 bit. A constant image scores 0, an empty mask or a
    value that is not finite NaN. ``sources`` are not looked at.
    """
    convention_of(convention, "entropy")
    levels = grey_levels(fused, None, data_range, mask)
    grey = levels.fused[:, 0].round().int()
    nats = [_entropy(levels.inside(item, image), GREY_LEVELS) for item, image in enumerate(grey)]
    return levels.finish(torch.stack(nats) / math.log(2))


def mutual_information(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mutual information in nats: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)``, at least 0 (Qu et al., Electron. Lett. 2002).

    ``evaluator``: of the fused image with CT, plus with MR. Every distinct value is a label of its own, so round
    images to 8 bit first: on a continuous image the score only measures how many values it has. ``paper``
    (formula 7): of CT with MR, which says nothing about the fused image. A constant image scores 0.
    """
    paper = convention_of(convention, "mutual information") is Convention.PAPER
    check_images(fused, sources, mask)
    whole = whole_levels(fused, sources, data_range) if mask is None else None
    if whole is not None:  # nothing to round, and no need of float64: a third of the time
        pairs = [[(image.flatten(), GREY_LEVELS) for image in item] for item in zip(*whole, strict=True)]
        return torch.stack([_shared(item[1], item[2:]) if paper else _shared(item[0], item[1:]) for item in pairs])
    levels = paired_levels(fused, sources, data_range, mask)
    scores = []
    for item in range(len(levels.fused)):
        images = (levels.fused[item, 0], *levels.sources[item])
        labels = [_labels(levels.inside(item, image)) for image in images]
        scores.append(_shared(labels[1], labels[2:]) if paper else _shared(labels[0], labels[1:]))
    return levels.finish(torch.stack(scores))


def _labels(values: torch.Tensor) -> tuple[torch.Tensor, int]:
    """``(N,)`` grey levels to ``(N,)`` integers that name the distinct values, and how many names there are."""
    whole = values.int()
    if values.equal(whole.double()):
        return whole, GREY_LEVELS
    distinct, labels = torch.unique(values, return_inverse=True)
    return labels, len(distinct)


def _shared(image: tuple[torch.Tensor, int], others: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
    """Mutual information in nats of one labelled image with each of ``others``, summed: a scalar."""
    each = [_with(*image, *other) for other in others]
    return torch.stack(each).clamp(min=0).sum()  # rounding may leave -1e-16


def _with(image: torch.Tensor, number: int, other: torch.Tensor, other_number: int) -> torch.Tensor:
    """Mutual information in nats of ``(N,)`` labels below ``number`` with others: a scalar."""
    joint, cells = image * other_number + other, number * other_number
    if cells > _DENSE_CELLS:
        return _entropy(image, number) + _entropy(other, other_number) - _entropy(joint, cells)
    table = torch.bincount(joint, minlength=cells).reshape(number, other_number)  # its margins are both histograms
    return _of_counts(table.sum(1)) + _of_counts(table.sum(0)) - _of_counts(table)


def _entropy(labels: torch.Tensor, number: int) -> torch.Tensor:
    """Entropy in nats of ``(N,)`` labels below ``number``; NaN for no label."""
    if number <= _DENSE_CELLS:
        return _of_counts(torch.bincount(labels, minlength=1))
    return _of_counts(torch.unique(labels, return_counts=True)[1])


def _of_counts(counts: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of a histogram of any shape; NaN for an empty one."""
    counts = counts.double()
    total = counts.sum()
    logarithms = counts.clamp(min=1).log()  # a count of 0 adds nothing; three times faster than xlogy
    return (total.log() - (counts * logarithms).sum() / total).clamp(min=0)
