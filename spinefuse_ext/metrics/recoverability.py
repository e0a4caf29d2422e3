"""Whether CT and MR can be told from the fused image: ridge regression, fitted to other patients, gives them back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from spinefuse_ext.metrics.convention import PEAK, Convention, GreyLevels, convention_of, paired_levels
from spinefuse_ext.metrics.display import smooth, viewed
from spinefuse_ext.metrics.fidelity import FOREGROUND

#: Standard deviations in pixels at which brightness, slope and curvature are looked at.
SCALES_PX = (1.0, 2.0, 4.0, 8.0)
#: Neighbours whose brightness is looked at lie this many pixels away along the axes.
NEIGHBOUR_PX = 2
#: Brightness is also cut into this many steps with soft limits, near by and around, as what is grey means many tissues.
KNOTS = 6
#: Weight of the penalty on the coefficients of standardised features, as a part of the number of pixels.
RIDGE = 1e-3
#: Every so many pixels along each axis one is fitted to; neighbours say the same.
STEP_PX = 2
# grey levels squared; far below what a source can have unless it is constant
_NO_VARIANCE = 1e-8


class SourceRecovery:
    """Recover CT and MR from the fused images of one method: fit on some patients, score others.

    A ridge regression in closed form, the same for every method, on fixed features of what a reader sees of the fused
    image (:func:`~spinefuse_ext.metrics.display.viewed`): its brightness at four scales, slope and curvature, that
    of the neighbours, and joint steps of the brightness near by and around. Nothing depends on the place in the image,
    so a code that needs to know which pixel it is at, or one below what can be seen, gives nothing back.
    """

    def __init__(self) -> None:
        self._moments: torch.Tensor | None = None  # of 1, features and both sources, with each other

    def fit(
        self,
        fused: torch.Tensor,
        sources: torch.Tensor,
        data_range: float = 1.0,
        mask: torch.Tensor | None = None,
    ) -> SourceRecovery:
        """Take in fused images ``(B, 1, *S)`` and their pairs ``(B, 2, *S)``; may be called again with further ones.

        Images that are not finite, and pixels outside the mask or of air in both scans, are left out.
        """
        levels = paired_levels(fused, sources, data_range, mask)
        counts = _foreground(levels)
        for item in torch.nonzero(levels.finite)[:, 0].tolist():
            one = slice(item, item + 1)
            held = thinned(counts[one]).flatten()
            features = [thinned(feature).flatten()[held] for feature in seen_features(viewed(levels.fused[one]))]
            targets = thinned(levels.sources[one])[0].flatten(1)[:, held] / PEAK
            rows = torch.cat((torch.ones_like(targets[:1]), torch.stack(features), targets))
            moments = rows @ rows.T
            self._moments = moments if self._moments is None else self._moments + moments.to(self._moments.device)
        return self

    @property
    def fitted_px(self) -> int:
        """Number of pixels that were taken in."""
        return 0 if self._moments is None else int(self._moments[0, 0])

    def recover(self, fused: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
        """CT and MR as they are told from the fused image: ``(B, 1, *S) -> (B, 2, *S)`` in [0, ``data_range``].

        Raises:
            ValueError: nothing was fitted so far.
        """
        levels = paired_levels(fused, fused.expand(-1, 2, *fused.shape[2:]), data_range, None)
        return self._recover(levels.fused) * (data_range / PEAK)

    def r2(
        self,
        fused: torch.Tensor,
        sources: torch.Tensor | None,
        data_range: float = 1.0,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Share of the variance of CT and of MR that comes back: ``(B, 1, *S)``, ``(B, 2, *S) -> (B, 2)`` in [0, 1].

        Over pixels inside the mask where CT or MR is above ``FOREGROUND`` of the range. 0 says no more than the mean
        of the source does; NaN where the source is constant or nothing counts.

        Raises:
            ValueError: nothing was fitted so far, besides what every score refuses.
        """
        levels = paired_levels(fused, sources, data_range, mask)
        counts = _foreground(levels).double()
        number = counts.flatten(1).sum(1)[:, None]
        centre = (_total(levels.sources, counts) / number).reshape(*levels.sources.shape[:2], *[1] * (fused.ndim - 2))
        there = _total((levels.sources - centre).square(), counts)
        missed = _total((levels.sources - self._recover(levels.fused)).square(), counts)
        shares = torch.where(there > _NO_VARIANCE * number, (1 - missed / there).clamp(min=0), torch.nan)
        return torch.stack([levels.finish(share) for share in shares.unbind(1)], dim=1)

    def _recover(self, levels: torch.Tensor) -> torch.Tensor:
        """Levels ``(B, 1, *S) -> (B, 2, *S)``, both 0..255."""
        weights = self._weights().to(levels.device)
        parts = []
        for item in levels.split(1):
            told = weights[:, 0].reshape(1, 2, *[1] * (levels.ndim - 2)).expand(1, 2, *levels.shape[2:]).clone()
            for feature, both in zip(seen_features(viewed(item)), weights[:, 1:].T, strict=True):
                told += both.reshape(1, 2, *[1] * (levels.ndim - 2)) * feature
            parts.append(told)
        return torch.cat(parts).clamp_(0, 1) * PEAK

    def _weights(self) -> torch.Tensor:
        """Offset and coefficients of the features, for CT and MR: ``(2, 1 + P)``."""
        if self._moments is None or not self._moments[0, 0] > 0:
            raise ValueError("Expected a recovery that was fitted to images of other patients; call fit first.")
        return ridge_weights(self._moments / self._moments[0, 0])


def ridge_weights(moments: torch.Tensor) -> torch.Tensor:
    """Offset and coefficients of P features for 2 sources: ``(2, 1 + P)``.

    ``moments`` is ``(1 + P + 2, 1 + P + 2)``: the mean products of 1, features and sources with each other.
    """
    mean = moments[0, 1:]
    covariance = moments[1:, 1:] - torch.outer(mean, mean)
    spread = covariance.diagonal()[:-2].clamp(min=0).sqrt()
    scale = torch.where(spread > 1e-9, 1 / spread, 0.0)  # a feature that never changes says nothing
    inner = covariance[:-2, :-2] * torch.outer(scale, scale)
    ridge = RIDGE * torch.eye(len(scale), dtype=inner.dtype, device=inner.device)
    weights = torch.linalg.solve(inner + ridge, covariance[:-2, -2:] * scale[:, None]) * scale[:, None]
    offset = mean[-2:] - mean[:-2] @ weights
    return torch.cat((offset[None], weights)).T


def recoverability(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
    *,
    recovery: SourceRecovery,
) -> torch.Tensor:
    """The smaller of ``ct_recoverability`` and ``mr_recoverability``: ``(B,)`` in [0, 1]; NaN where either is.

    An image that copies one scan has the other one only so far as both look alike. The paper prints no such score.
    """
    return _r2(fused, sources, data_range, convention, mask, recovery).amin(1)


def ct_recoverability(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
    *,
    recovery: SourceRecovery,
) -> torch.Tensor:
    """R2 of CT as a fitted recovery tells it from fused: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [0, 1]."""
    return _r2(fused, sources, data_range, convention, mask, recovery)[:, 0]


def mr_recoverability(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
    *,
    recovery: SourceRecovery,
) -> torch.Tensor:
    """R2 of MR as a fitted recovery tells it from fused: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [0, 1]."""
    return _r2(fused, sources, data_range, convention, mask, recovery)[:, 1]


def _r2(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float,
    convention: str,
    mask: torch.Tensor | None,
    recovery: SourceRecovery,
) -> torch.Tensor:
    convention_of(convention, "recoverability", printed=False)
    return recovery.r2(fused, sources, data_range, mask)


def thinned(images: torch.Tensor) -> torch.Tensor:
    """One pixel of every ``STEP_PX`` along each axis of ``(B, C, *S)``."""
    for axis in range(2, images.ndim):
        images = images.index_select(axis, torch.arange(0, images.shape[axis], STEP_PX, device=images.device))
    return images


def _total(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Sum over the pixels that count: ``(B, C, *S) -> (B, C)``."""
    return (values * counts).flatten(2).sum(2)


def _foreground(levels: GreyLevels) -> torch.Tensor:
    """Where CT or MR shows more than air: ``(B, 1, *S)``, boolean."""
    body = levels.sources.amax(1, keepdim=True) > FOREGROUND * PEAK
    return body if levels.mask is None else body & (levels.mask > 0)


def seen_features(seen: torch.Tensor) -> Iterator[torch.Tensor]:
    """What the regression looks at in ``(1, 1, *S)``, levels: one map ``(1, 1, *S)`` after the other, about [0, 1]."""
    seen = seen / PEAK
    axes = range(2, seen.ndim)
    blurred = {sigma: seen if sigma == SCALES_PX[0] else smooth(seen, sigma) for sigma in SCALES_PX}
    for image in blurred.values():
        yield image
        yield torch.stack([_difference(image, axis).square() for axis in axes]).sum(0).sqrt()
        yield torch.stack([_curvature(image, axis) for axis in axes]).sum(0)
    for offset in itertools.product((-NEIGHBOUR_PX, 0, NEIGHBOUR_PX), repeat=seen.ndim - 2):
        if any(offset):
            yield _shifted(seen, offset)
    near, around = (list(_steps(blurred[sigma])) for sigma in (SCALES_PX[0], SCALES_PX[2]))
    for one, other in itertools.product(near, around):
        yield one * other


def _steps(image: torch.Tensor) -> Iterator[torch.Tensor]:
    """How much each pixel belongs to each of ``KNOTS`` steps of brightness from 0 to 1; together 1."""
    place = image.clamp(0, 1) * (KNOTS - 1)
    for knot in range(KNOTS):
        yield (1 - (place - knot).abs()).clamp(min=0)


def _neighbour(image: torch.Tensor, axis: int, steps: int) -> torch.Tensor:
    """The value ``steps`` pixels further along an axis, that of the border beyond it."""
    length = image.shape[axis]
    places = (torch.arange(length, device=image.device) + steps).clamp(0, length - 1)
    return image.index_select(axis, places)


def _difference(image: torch.Tensor, axis: int) -> torch.Tensor:
    return (_neighbour(image, axis, 1) - _neighbour(image, axis, -1)) / 2


def _curvature(image: torch.Tensor, axis: int) -> torch.Tensor:
    return _neighbour(image, axis, 1) + _neighbour(image, axis, -1) - 2 * image


def _shifted(image: torch.Tensor, offset: tuple[int, ...]) -> torch.Tensor:
    for axis, steps in enumerate(offset, start=2):
        image = _neighbour(image, axis, steps) if steps else image
    return image
