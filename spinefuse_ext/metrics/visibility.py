"""Which edges of CT and MR a reader still sees in the fused image, and which he sees that are in neither."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from spinefuse_ext.metrics.convention import Convention, convention_of, paired_levels
from spinefuse_ext.metrics.display import JUST_NOTICEABLE
from spinefuse_ext.metrics.windows import crop_valid, filter_valid, gaussian
from spinefuse_ext.validation import ConfigError

#: Contrast is looked at in a Gaussian window of so many pixels, standard deviation a fifth of it.
WINDOW_PX = 9
#: An edge is seen where it makes up this part of the variance in the window, or more: a correlation of a half.
SEEN_SHARE = 0.25
#: An edge of the fused image is false where CT and MR together explain less than this part of its variance.
TRUE_SHARE = 0.5
# variance of a step of one just noticeable height is a quarter of its square; half that height cannot vouch for an edge
STEP_VARIANCE = JUST_NOTICEABLE**2 / 4
_VOUCHING_VARIANCE = STEP_VARIANCE / 4


@dataclass(frozen=True)
class _Windows:
    """Variances of fused, CT and MR ``(B, 3, *V)``, covariances fused-CT, fused-MR, CT-MR ``(B, 3, *V)``, mask."""

    variance: torch.Tensor
    covariance: torch.Tensor
    inside: torch.Tensor
    finite: torch.Tensor

    def share(self, where: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        """Part of the contrast above a noticeable step that lies in ``where``: ``(B, C, *V) -> (B, C)``."""
        weight = torch.where(variance >= STEP_VARIANCE, variance.sqrt(), 0.0) * self.inside
        kept = (weight * where).flatten(2).sum(2) / weight.flatten(2).sum(2)
        return torch.where(self.finite[:, None], kept, torch.nan)


def visibility(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The smaller of ``ct_visibility`` and ``mr_visibility``: ``(B,)`` in [0, 1]; NaN where either is."""
    return _visible(fused, sources, data_range, convention, mask).amin(1)


def ct_visibility(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Share of the edges of CT that are seen in fused: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [0, 1].

    Contrast is that of a window of 9 pixels, written as the height of a step through its middle. All contrast of CT
    above ``JUST_NOTICEABLE`` counts, by its strength. It is seen where the part of the fused image that follows CT
    there is itself above that step, whatever its sign, and stands out from what else is there (``SEEN_SHARE``). So an
    edge that is shifted, drowned in a pattern or too faint is not seen. NaN where CT has no such edge; images under 9
    pixels along an axis raise ``ConfigError``; with a mask windows count whose centre is inside it. The paper prints no
    such score.
    """
    return _visible(fused, sources, data_range, convention, mask)[:, 0]


def mr_visibility(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Share of the edges of MR that are seen in fused, as ``ct_visibility``: ``(B,)`` in [0, 1]."""
    return _visible(fused, sources, data_range, convention, mask)[:, 1]


def false_edges(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Share of the edges of fused that are in neither source: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [0, 1].

    0 is best. The contrast of the fused image above ``JUST_NOTICEABLE``, by its strength, in windows where the best
    mixture of CT and MR explains less than ``TRUE_SHARE`` of it and a noticeable step is left over. What is too faint
    to be seen in CT and MR does not explain. NaN where the fused image has no edge. The paper prints no such score.
    """
    windows = _windows(fused, sources, data_range, convention, mask)
    with_ct, with_mr, of_both = windows.covariance.split(1, dim=1)
    own, ct, mr = windows.variance.split(1, dim=1)
    ct, mr = ct + _VOUCHING_VARIANCE, mr + _VOUCHING_VARIANCE
    explained = (with_ct.square() * mr - 2 * with_ct * with_mr * of_both + with_mr.square() * ct) / (
        ct * mr - of_both.square()
    )
    left = own - explained
    return windows.share((left > (1 - TRUE_SHARE) * own) & (left >= STEP_VARIANCE), own)[:, 0]


def _visible(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float,
    convention: str,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """Visible share of the edges of CT and MR: ``(B, 2)``."""
    windows = _windows(fused, sources, data_range, convention, mask)
    own, theirs = windows.variance[:, :1], windows.variance[:, 1:]
    followed = windows.covariance[:, :2].square()
    seen = (followed >= STEP_VARIANCE * theirs) & (followed >= SEEN_SHARE * theirs * own)
    return windows.share(seen, theirs)


def _windows(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float,
    convention: str,
    mask: torch.Tensor | None,
) -> _Windows:
    convention_of(convention, "visible edges", printed=False)
    levels = paired_levels(fused, sources, data_range, mask)
    if min(fused.shape[2:]) < WINDOW_PX:
        raise ConfigError(f"Edges need at least {WINDOW_PX} pixels along each axis, got {tuple(fused.shape[2:])}.")
    average = partial(filter_valid, kernel=gaussian(WINDOW_PX, WINDOW_PX / 5))
    images = levels.images.round()  # what a display shows
    mean = average(images)
    pairs = torch.stack([images[:, one] * images[:, other] for one, other in ((0, 1), (0, 2), (1, 2))], dim=1)
    means = torch.stack([mean[:, one] * mean[:, other] for one, other in ((0, 1), (0, 2), (1, 2))], dim=1)
    inside = torch.ones_like(mean[:, :1]) if levels.mask is None else crop_valid(levels.mask, WINDOW_PX)
    variance = (average(images.square()) - mean.square()).clamp_(min=0)
    return _Windows(variance, average(pairs) - means, inside, levels.finite)
