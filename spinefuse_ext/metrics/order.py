"""Whether the fused image keeps tissues in order: bone brighter than what surrounds it, tissue classes apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch

from spinefuse_ext.metrics.convention import PEAK, Convention, convention_of, grey_levels, paired_levels
from spinefuse_ext.metrics.display import JUST_NOTICEABLE, smooth
from spinefuse_ext.metrics.fidelity import BONE_LEVEL
from spinefuse_ext.validation import ConfigError

#: What surrounds a bone voxel: the voxels without bone about it, weighted by a Gaussian of this standard deviation.
AROUND_PX = 3.0
# bone farther from its surroundings than where they have this weight has none
_LEAST_AROUND = 0.05
_LEVELS = 256


def bone_order(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
    bone_level: float = BONE_LEVEL,
) -> torch.Tensor:
    """Share of bone that is brighter in fused than what surrounds it: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [0, 1].

    Bone is where CT is at least ``bone_level`` of its range, and counts near its surface; it must be brighter than the
    mean of the voxels without bone about it (``AROUND_PX``) by ``JUST_NOTICEABLE``. NaN without bone. The paper prints
    no such score.
    """
    convention_of(convention, "the order of bone", printed=False)
    levels = paired_levels(fused, sources, data_range, mask)
    bone = levels.sources[:, :1] >= bone_level * PEAK
    other = (~bone).double()
    weight = smooth(other, AROUND_PX)
    around = smooth(levels.fused.round() * other, AROUND_PX) / weight.clamp(min=_LEAST_AROUND)
    counts = (bone & (weight >= _LEAST_AROUND)).double()
    counts = counts if levels.mask is None else counts * levels.mask
    brighter = levels.fused.round() >= around + JUST_NOTICEABLE
    return levels.finish((brighter * counts).flatten(1).sum(1) / counts.flatten(1).sum(1))


def tissue_separability(
    fused: torch.Tensor, tissue: torch.Tensor, classes: Mapping[int, str], data_range: float = 1.0
) -> dict[tuple[str, str], torch.Tensor]:
    """How well each two tissues are told apart by their grey: two ``(B, 1, *S)`` to a ``(B,)`` in [0, 1] a pair.

    ``|2 A - 1|`` of the area A under the ROC curve: 0 where the greys of both are alike, 1 where they do not overlap,
    whichever is brighter. Both voxels are seen with noise of ``JUST_NOTICEABLE``, so that tissues which differ by less
    than can be seen do not count as apart. NaN where an item lacks one of the two. The smallest value and the mean over
    the pairs sum a case up (:func:`worst_and_mean`).

    Args:
        fused: images in [0, ``data_range``].
        tissue: whole numbers of classes, for example of CSF, disc, cord, muscle and fat; others are left out.
        classes: name of each number that counts; two or more.
        data_range: largest possible value of ``fused``.

    Raises:
        ConfigError: fewer than two classes.
        ValueError: shapes that differ, besides what every score refuses.
    """
    if len(classes) < 2:
        raise ConfigError(f"Tissues are told apart by two classes or more, got {len(classes)}; name them in classes.")
    if tissue.shape != fused.shape:
        raise ValueError(f"Expected tissue {tuple(fused.shape)} to match fused, got {tuple(tissue.shape)}.")
    levels = grey_levels(fused, None, data_range, None)
    grey = levels.fused.round().long().flatten(1)
    shares = {number: _histograms(grey, (tissue == number).flatten(1).to(grey.device)) for number in classes}
    above = _seen_above(grey.device)
    return {
        (classes[one], classes[other]): levels.finish(
            (2 * torch.einsum("bi,ij,bj->b", shares[one], above, shares[other]) - 1).abs()
        )
        for one, other in itertools.combinations(classes, 2)
    }


def worst_and_mean(pairs: Mapping[tuple[str, str], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest value and mean of :func:`tissue_separability` over all pairs: two ``(B,)``; NaN without any."""
    values = torch.stack(list(pairs.values()))
    smallest = values.nan_to_num(nan=torch.inf).amin(0)
    return torch.where(smallest.isfinite(), smallest, torch.nan), values.nanmean(0)


def _histograms(grey: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Share of each grey level among the voxels in ``where``: ``(B, N) -> (B, 256)``; NaN where there is none."""
    counts = torch.stack(
        [torch.bincount(one[held], minlength=_LEVELS) for one, held in zip(grey, where, strict=True)]
    ).double()
    return counts / counts.sum(1, keepdim=True)


def _seen_above(device: torch.device) -> torch.Tensor:
    """Probability that the first of two levels is seen as the brighter one, each with its noise: ``(256, 256)``."""
    levels = torch.arange(_LEVELS, dtype=torch.float64, device=device)
    return torch.special.ndtr((levels[:, None] - levels) / (math.sqrt(2) * JUST_NOTICEABLE))
