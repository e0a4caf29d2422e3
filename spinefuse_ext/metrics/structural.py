"""Structural similarity of the fused image with its sources."""

from __future__ import annotations

from functools import partial

import torch

from spinefuse_ext.metrics.convention import PEAK, Convention, convention_of, masked_mean, paired_levels
from spinefuse_ext.metrics.windows import crop_valid, local_moments, mean_valid, strips
from spinefuse_ext.validation import ConfigError

WINDOW_PX = 7
#: The range behind the published numbers: what scikit-image 0.19 took for granted for float images, here on 0..255.
EVALUATOR_RANGE = 2.0


def structural_similarity(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """SSIM with CT plus SSIM with MR: ``(B, 1, *S)``, ``(B, 2, *S) -> (B,)`` in [-2, 2] (Wang et al., IEEE TIP 2004).

    Uniform windows of 7 pixels, whole windows only (smaller images raise ``ConfigError``), unbiased variances. As in
    the published tables the constants are those of a range of 2 on levels 0..255, so that they all but vanish: a flat
    region with an offset costs much. With a mask the map is averaged over the windows whose centre is inside it. Equal
    constant images score 1 each. The paper prints no such score by this name (see ``visual_information_fidelity``).
    """
    convention_of(convention, "structural similarity", printed=False)
    levels = paired_levels(fused, sources, data_range, mask)
    similarity = ssim_map(levels.images, EVALUATOR_RANGE)
    inside = None if levels.mask is None else crop_valid(levels.mask, WINDOW_PX)
    return levels.finish(masked_mean(similarity, inside).sum(1))


def ssim_map(images: torch.Tensor, value_range: float = PEAK) -> torch.Tensor:
    """SSIM of image 0 with every other one: ``(B, C, *S) -> (B, C - 1, *S-6)``, for values spanning ``value_range``."""
    if min(images.shape[2:]) < WINDOW_PX:
        raise ConfigError(f"SSIM needs at least {WINDOW_PX} pixels along each axis, got {tuple(images.shape[2:])}.")
    halo = WINDOW_PX - 1
    parts = [_ssim(images.narrow(2, start, rows + halo), value_range) for start, rows in strips(images, halo)]
    return torch.cat(parts, dim=2)


def _ssim(images: torch.Tensor, value_range: float) -> torch.Tensor:
    moments = local_moments(images, partial(mean_valid, width=WINDOW_PX))
    count = WINDOW_PX ** (images.ndim - 2)
    unbiased = count / (count - 1)
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    mean, others = moments.mean[:, :1], moments.mean[:, 1:]
    spread = unbiased * (moments.variance[:, :1] + moments.variance[:, 1:])
    luminance = (2 * mean * others + c1) / (mean.square() + others.square() + c1)
    return luminance * (2 * unbiased * moments.covariance + c2) / (spread + c2)
