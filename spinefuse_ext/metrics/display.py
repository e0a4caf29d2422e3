"""What a reader gets of a fused image: whole grey levels on a display, and no differences below a noticeable step."""

from __future__ import annotations

import zlib

import torch
import torch.nn.functional as F

from spinefuse_ext.metrics.convention import PEAK
from spinefuse_ext.metrics.windows import filter_valid, gaussian

#: Smallest step in grey levels that a reader tells apart in an image: 2 % of the range (Weber's fraction).
JUST_NOTICEABLE = 0.02 * PEAK
#: Standard deviations in pixels of the Gaussians that the noise of viewing is made of: it hides what is faint at each.
NOISE_SCALES_PX = (1.0, 2.0, 4.0, 8.0)
# Gaussians are cut off at this many standard deviations
_REACH = 3.0


def smooth(images: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Gaussian smoothing along every axis, the border repeated: ``(B, C, *S) -> (B, C, *S)``."""
    reach = int(_REACH * sigma_px + 0.5)
    padded = F.pad(images, (reach, reach) * (images.ndim - 2), mode="replicate")
    return filter_valid(padded, gaussian(2 * reach + 1, sigma_px))


def viewed(fused: torch.Tensor) -> torch.Tensor:
    """Fused images as they are seen: ``(B, 1, *S) -> (B, 1, *S)``, levels, float64; smoothed by one pixel.

    Rounded to 8 bit, with noise of one just noticeable step at each of ``NOISE_SCALES_PX``, so that what differs by
    less is lost whatever its size. The noise of an image is drawn from the image itself: scores can be repeated, and
    no image can be made in which the noise is taken off beforehand.
    """
    levels = fused.round()
    return smooth(levels + torch.cat([_noise(item[None]) for item in levels]), 1.0)


def _noise(levels: torch.Tensor) -> torch.Tensor:
    """Noise of viewing for one image ``(1, 1, *S)`` of whole levels."""
    seed = zlib.crc32(levels.to("cpu", torch.uint8).contiguous().numpy().tobytes())
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(levels)
    for sigma_px in NOISE_SCALES_PX:
        white = torch.randn(levels.shape, generator=generator, dtype=levels.dtype).to(levels.device)
        total += noise_of(white, sigma_px)
    return total


def noise_of(white: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """White noise of unit variance ``(B, C, *S)`` as the noise of viewing of one size: one noticeable step, smooth."""
    energy = gaussian(2 * int(_REACH * sigma_px + 0.5) + 1, sigma_px).square().sum() ** (white.ndim - 2)
    return smooth(white, sigma_px) * (JUST_NOTICEABLE / energy.sqrt().item())
