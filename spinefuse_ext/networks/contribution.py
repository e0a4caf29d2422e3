"""Which modality a fused image depends on, place by place, found by taking the structure of one modality away."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.layers import GaussianFilter

from spinefuse_ext.validation import check_number

#: One of 256 grey levels: a smaller change of the fused image cannot be seen, and tells nothing.
VISIBLE = 1 / 255


def modality_contribution(
    fuse: Callable[[torch.Tensor], torch.Tensor], pair: torch.Tensor, sigma_px: float
) -> torch.Tensor:
    """Share of CT and MR in the fused image: pair ``(B, 2, *S)`` in [0, 1] -> ``(B, 2, *S)`` in (0, 1), sum 1.

    ``share_m = (d_m + v) / (d_ct + d_mr + 2 v)``, where ``d_m`` is the local mean, over a quarter of ``sigma_px``, of
    ``|fuse(pair) - fuse(pair with modality m replaced by its own local mean over sigma_px)|``, ``v`` is one of 256
    grey levels, and local means are Gaussian. Where the structure of neither modality matters (air, flat tissue) both
    shares are therefore 0.5.

    It is an ablation, not a decomposition: it asks for structure finer than ``sigma_px`` and not for brightness, and
    cannot tell apart what both modalities show alike. It costs three passes of the network.

    Args:
        fuse: a fusion network in evaluation mode, ``(B, 2, *S) -> (B, 1, *S)``.
        pair: CT and MR.
        sigma_px: standard deviation in pixels of the Gaussian whose finer structure is taken away.

    Raises:
        ValueError: the pair has not 2 channels.
        ConfigError: ``sigma_px`` is not positive.
    """
    if pair.shape[1] != 2:
        raise ValueError(f"Expected a pair of 2 channels, CT and MR, got an image of shape {list(pair.shape)}.")
    check_number("sigma_px", sigma_px, above=0)
    fused, blurred = fuse(pair).float(), _local_mean(pair, sigma_px)
    changes = [
        (fused - fuse(torch.where(_channel(pair, modality), blurred, pair)).float()).abs() for modality in (0, 1)
    ]
    weights = _local_mean(torch.cat(changes, dim=1), sigma_px / 4) + VISIBLE
    return weights / weights.sum(dim=1, keepdim=True)


def _local_mean(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Gaussian mean of the pixels that exist, so that the border is not darkened: same shape."""
    smooth = GaussianFilter(image.ndim - 2, sigma_px).to(image)
    return smooth(image) / smooth(torch.ones_like(image[:1, :1]))


def _channel(pair: torch.Tensor, modality: int) -> torch.Tensor:
    """True in one channel of the pair: ``(1, 2, 1, ...)``."""
    chosen = torch.arange(2, device=pair.device) == modality
    return chosen.view(1, 2, *[1] * (pair.ndim - 2))
