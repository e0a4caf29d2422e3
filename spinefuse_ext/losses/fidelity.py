"""How much information of both modalities a fused image carries, so that it can be learnt: VIF, mutual information."""

from __future__ import annotations

import torch

from spinefuse_ext.metrics.convention import PEAK
from spinefuse_ext.metrics.fidelity import WINDOWS_PX, fidelity
from spinefuse_ext.metrics.information import GREY_LEVELS
from spinefuse_ext.validation import ConfigError


def lost_fidelity(fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
    """One minus half the VIF of both modalities: ``(B, 1, *S), (B, 2, *S)`` in [0, 1] to a scalar, mean of the batch.

    Sheikh and Bovik, IEEE TIP 2006, as the score of that name, in float64 as float32 cannot tell a faint structure
    from rounding. 0 for equal images; below 0 is possible where the fused image has more contrast than its sources.
    Images under 41 voxels along an axis lack the coarser of the four scales.

    Raises:
        ConfigError: under 17 voxels along an axis.
    """
    if min(fused.shape[2:]) < WINDOWS_PX[0]:
        raise ConfigError(
            f"Expected at least {WINDOWS_PX[0]} voxels on every axis for the information fidelity, got an image of "
            f"{tuple(fused.shape)}; enlarge the patches or set fidelity_weight to 0."
        )
    levels = torch.cat((fused, pair.to(fused)), dim=1).double() * PEAK
    return (1 - fidelity(levels) / 2).mean().to(fused.dtype)


def shared_information(fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
    """Mutual information in nats of a fused batch with each modality, summed: ``(B, 1, *S), (B, 2, *S)`` to a scalar.

    From one joint histogram of 256 grey levels over the batch. A fused voxel between two levels counts for both, in
    shares; through them the result is differentiable. Counting, not the Parzen windows of MONAI's
    ``GlobalMutualInformationLoss``, which at 256 levels need 256 numbers for every voxel.
    """
    levels = fused.clamp(0, 1).flatten() * (GREY_LEVELS - 1)
    below = levels.detach().floor().clamp(max=GREY_LEVELS - 2)
    share = levels - below
    shared = fused.new_zeros(())
    for modality in pair.split(1, dim=1):
        other = (modality.clamp(0, 1).flatten() * (GREY_LEVELS - 1)).round().long()
        cells = below.long() * GREY_LEVELS + other
        counts = fused.new_zeros(GREY_LEVELS**2).index_add(0, cells, 1 - share)
        joint = (counts.index_add(0, cells + GREY_LEVELS, share) / len(levels)).reshape(GREY_LEVELS, GREY_LEVELS)
        shared = shared + _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)
    return shared


def _entropy(parts: torch.Tensor) -> torch.Tensor:
    """In nats."""
    return -torch.xlogy(parts, parts.clamp(min=torch.finfo(parts.dtype).tiny)).sum()
