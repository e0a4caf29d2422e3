"""A network that blends CT and MR scale by scale: it predicts what share each has, and cannot invent anything."""

from __future__ import annotations

from pathlib import Path

import torch

from spinefuse_ext.networks.pyramid import doubled
from spinefuse_ext.networks.share_fusion import ShareFusionNet
from spinefuse_ext.networks.unloaded import start_from


class BlendFusionNet(ShareFusionNet):
    """CT and MR ``(B, 2, *S)`` in [0, 1] to their blend ``(B, 1, *S)`` in [0, 1]; any size, 2-D or 3-D.

    Both are parted into Laplacian pyramids. From the coarsest scale to the finest small convolutions look at the two
    images of the scale, at their details and at what the coarser scale found, and say which share CT has at each
    voxel; MR has the rest. The blended details are put together again. So, with given shares, the blend is linear in
    the sources. It is then held between the darker and the brighter of both at each voxel: two equal sources give
    themselves back, air stays black, and no edge overshoots. After the idea of HybridFusion (arXiv 2602.20851).

    Args:
        spatial_dims: 2 or 3.
        levels: scales of detail, at least 1; the coarsest image is ``2 ** levels`` times smaller.
        channels: features of each scale.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.

    Raises:
        ConfigError: fewer than one level or channel.
    """

    def __init__(
        self, spatial_dims: int = 2, levels: int = 4, channels: int = 8, *, weights: str | Path | None = None
    ) -> None:
        super().__init__(spatial_dims, levels, channels, coarsest=2)
        start_from(self, weights)

    def _shares(self, images: list[torch.Tensor], parts: list[torch.Tensor]) -> list[torch.Tensor]:
        shares: list[torch.Tensor] = []
        seen = images[self.levels]
        for step, level in enumerate(self.guidance):
            features, logit = level(seen)
            shares.insert(0, torch.sigmoid(logit))
            finer = self.levels - 1 - step
            if finer >= 0:
                image = images[finer]
                seen = torch.cat((image, self.detail_gain * parts[finer], doubled(features, image)), dim=1)
        return shares
