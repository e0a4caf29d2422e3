"""How much of the sources the fused image carries: visual information fidelity, and correlation of differences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from spinefuse_ext.labels import BONE_HU
from spinefuse_ext.metrics.convention import PEAK, Convention, GreyLevels, convention_of, masked_mean, paired_levels
from spinefuse_ext.metrics.structural import WINDOW_PX, ssim_map
from spinefuse_ext.metrics.windows import crop_valid, filter_valid, gaussian, local_moments
from spinefuse_ext.validation import ConfigError

#: Below this size the coarsest of the four scales has no whole window.
SMALLEST_VIF_PX = 41
WINDOWS_PX = (17, 9, 5, 3)
NOISE_VARIANCE = 2.0
#: ``BONE_HU`` as a part of the bundle's CT window, from -200 to 1000 HU.
BONE_LEVEL = 350 / 1200
#: Soft tissue is where CT is no bone, and CT or MR above this part of the range.
FOREGROUND = 0.05
_EPSILON = 1e-10
# grey levels squared; far below what a snapped image can have unless it is constant
_NO_VARIANCE = 1e-8


def visual_information_fidelity(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """VIF of CT to fused plus of MR to fused: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` (Sheikh & Bovik, IEEE TIP 2006).

    ``evaluator``: pixel domain, four scales, noise variance 2 on 0..255. The fused image itself scores 1 as a source;
    so does a constant source, which holds no information to lose; more than 1 is possible when contrast is raised.
    Images under 41 pixels along an axis raise ``ConfigError``. With a mask each scale sums over windows whose centre
    is inside it. ``paper`` (formula 9): mean SSIM of CT with MR over windows of 7 pixels, range 255, which is what the
    paper prints under this name and says nothing about the fused image.
    """
    paper = convention_of(convention, "visual information fidelity") is Convention.PAPER
    levels = paired_levels(fused, sources, data_range, mask)
    if paper:
        inside = None if levels.mask is None else crop_valid(levels.mask, WINDOW_PX)
        return levels.finish(masked_mean(ssim_map(levels.sources), inside)[:, 0])
    if min(fused.shape[2:]) < SMALLEST_VIF_PX:
        raise ConfigError(
            f"VIF needs at least {SMALLEST_VIF_PX} pixels along each axis, got {tuple(fused.shape[2:])}; "
            "score a larger region, or resample to a finer grid."
        )
    return levels.finish(fidelity(levels.images, levels.mask))


def sum_of_correlations_of_differences(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """r(CT, fused - MR) + r(MR, fused - CT): ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [-2, 2].

    Aslantas & Bendes, AEU 2015. NaN where a correlation does not exist: a constant source, or a fused image that is
    one of its sources up to a constant. The paper prints no such score.
    """
    convention_of(convention, "the sum of correlations of differences", printed=False)
    levels = paired_levels(fused, sources, data_range, mask)
    rest = levels.fused - levels.sources.flip(1)
    return levels.finish(_correlation(levels.sources, rest, levels.mask).sum(1))


def bone_level_of(ct_window_hu: Sequence[float]) -> float:
    """``BONE_HU`` as a part, 0 to 1, of a CT window (lower, upper) in HU.

    Raises:
        ConfigError: the window is empty or upside down.
    """
    lower, upper = ct_window_hu
    if not lower < upper:
        raise ConfigError(f"ct_window_hu should go from a lower to a higher HU, got {lower:g} to {upper:g}.")
    return min(max((BONE_HU - lower) / (upper - lower), 0.0), 1.0)


def bone_brightness(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
    bone_level: float = BONE_LEVEL,
) -> torch.Tensor:
    """Share of the brightness of CT that bone keeps: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [0, 1].

    Bone is every voxel whose CT is at or above ``bone_level`` (0 to 1) of the range; the score is the
    mean there of fused, or of CT where fused is brighter, over the mean of CT. 1 is bone as bright as in CT everywhere.
    NaN without bone. No published score: MI, VIF, Qabf and SSIM do not mind bone that fades, this one does.
    """
    convention_of(convention, "the brightness of bone", printed=False)
    levels = paired_levels(fused, sources, data_range, mask)
    bone = _inside(_is_bone(levels, bone_level), levels.mask)
    ct = levels.sources[:, :1]
    means = masked_mean(torch.cat((torch.minimum(levels.fused, ct), ct), dim=1), bone)
    return levels.finish(means[:, 0] / means[:, 1])


def soft_tissue_correlation(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
    bone_level: float = BONE_LEVEL,
) -> torch.Tensor:
    """Pearson correlation of fused with MR outside bone: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [-1, 1].

    Over the voxels that ``bone_brightness`` leaves out and where CT or MR is above ``FOREGROUND`` of the range. 1 is
    the contrast of MR. NaN where either image is constant there. No published score; read it beside the other.
    """
    convention_of(convention, "the correlation in soft tissue", printed=False)
    levels = paired_levels(fused, sources, data_range, mask)
    body = levels.sources.amax(1, keepdim=True) > FOREGROUND * PEAK
    soft = _inside(body & ~_is_bone(levels, bone_level), levels.mask)
    return levels.finish(_correlation(levels.sources[:, 1:], levels.fused, soft)[:, 0])


def _is_bone(levels: GreyLevels, bone_level: float) -> torch.Tensor:
    """Where CT shows bone: ``(B, 1, *S)``, boolean."""
    return levels.sources[:, :1] >= bone_level * PEAK


def _inside(where: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return where.double() if mask is None else where * mask


def fidelity(images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """VIF of the first of the images ``(B, 3, *S)``, levels 0..255, float64, summed over the others: ``(B,)``.

    Differentiable. A scale whose window is larger than what is left of the image, and all after it, are left out.
    """
    # variances do not see an offset; without it they lose fewer digits
    images = images - images.flatten(2).mean(2).reshape(*images.shape[:2], *[1] * (images.ndim - 2))
    mask = torch.ones_like(images[:, :1]) if mask is None else mask
    sums = images.new_zeros(3, images.shape[0], 2)  # kept, available, windows: each (B, 2)
    for scale, width in enumerate(WINDOWS_PX):
        kernel = gaussian(width, width / 5)
        if scale and min(images.shape[2:]) >= width:
            images, mask = _every_second(filter_valid(images, kernel)), _every_second(crop_valid(mask, width))
        if min(images.shape[2:]) < width:
            break
        sums = sums + _information(images, kernel, crop_valid(mask, width))
    kept, available, windows = sums
    known = torch.where(available > 0, available, 1.0)  # or the derivative of what is not taken would be NaN
    return torch.where(windows > 0, torch.where(available > 0, kept / known, 1.0), torch.nan).sum(1)


def _information(images: torch.Tensor, kernel: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Information that the fused image keeps, that the sources have, and number of windows: ``(3, B, 2)``."""
    moments = local_moments(images, partial(filter_valid, kernel=kernel))
    fused, sources = moments.variance[:, :1], moments.variance[:, 1:]
    related = (fused >= _EPSILON) & (sources >= _EPSILON) & (moments.covariance > 0)
    gain = torch.where(related, moments.covariance / (sources + _EPSILON), 0.0)
    rest = (fused - gain * moments.covariance).clamp_(min=_EPSILON)
    kept = torch.log1p(gain.square() * sources / (rest + NOISE_VARIANCE))
    available = torch.where(sources >= _EPSILON, torch.log1p(sources / NOISE_VARIANCE), 0.0)
    return torch.stack([(part * inside).flatten(2).sum(2) for part in (kept, available, torch.ones_like(kept))])


def _every_second(images: torch.Tensor) -> torch.Tensor:
    for axis in range(2, images.ndim):
        images = images[(slice(None),) * axis + (slice(None, None, 2),)]
    return images


def _correlation(first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Pearson correlation over the pixels in ``mask``: two ``(B, C, *S) -> (B, C)``; NaN when one is constant."""
    ones = [1] * (first.ndim - 2)
    first, second = (x - masked_mean(x, mask).reshape(*x.shape[:2], *ones) for x in (first, second))
    variances = torch.stack([masked_mean(x.square(), mask) for x in (first, second)])
    correlation = masked_mean(first * second, mask) / variances.prod(0).sqrt()
    return torch.where((variances > _NO_VARIANCE).all(0), correlation, torch.nan)
