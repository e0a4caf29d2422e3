"""A network that selects of CT and MR the stronger detail and the brighter base, and shifts that choice."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.pyramid import doubled, halved, mean_of_three
from spinefuse_ext.networks.share_fusion import ShareFusionNet
from spinefuse_ext.networks.unloaded import start_from

#: One grey level of 255: details fainter than this are not told apart.
FAINTEST = 1 / 255
#: How sharply the stronger of two details wins at first: of one twice as strong, 2 ** 6 to 1.
DETAIL_STEEPNESS = 6.0
#: How sharply the brighter of the coarsest images wins at first: of one brighter by a tenth of the range, e ** 3 to 1.
BASE_STEEPNESS = 30.0
#: Most of the coarsest image that CT has at first where it is smooth, and how fast that grows with its detail.
CEILING, SURFACE_GAIN = 0.65, 3.0


class SelectionFusionNet(ShareFusionNet):
    """CT and MR ``(B, 2, *S)`` in [0, 1] to their fusion ``(B, 1, *S)`` in [0, 1]; any size, 2-D or 3-D.

    Both are parted into Laplacian pyramids. At each scale the stronger detail of the two wins (its mean magnitude
    over three voxels an axis), and of the coarsest images the brighter one. There CT has at most a part where it is
    smooth, so that MR is seen inside white bone, and may have all where its detail is strong, at the surface of bone.
    How sharply one wins, that part and the growth are learnt. From the coarsest scale to the finest small convolutions
    look at the two images of the scale, at their details and at what the coarser scale found, and shift the decision.

    The outcome is the share of CT at each voxel; MR has the rest. The blended details are put together again. So, with
    given shares, the blend is linear in the sources. It is then held between the darker and the brighter of both at
    each voxel: two equal sources give themselves back, air stays black, and no edge overshoots. After the idea of
    HybridFusion (arXiv 2602.20851); it begins as the selection of Burt and Adelson (IEEE Trans. Commun. 1983).

    Args:
        spatial_dims: 2 or 3.
        levels: scales of detail, at least 1; the coarsest image is ``2 ** levels`` times smaller.
        channels: features of each scale.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.

    Raises:
        ConfigError: fewer than one level or channel.
    """

    def __init__(
        self, spatial_dims: int = 2, levels: int = 1, channels: int = 8, *, weights: str | Path | None = None
    ) -> None:
        super().__init__(spatial_dims, levels, channels, coarsest=4)
        self.faintest = FAINTEST
        self.steepness = nn.Parameter(torch.tensor([BASE_STEEPNESS] + [DETAIL_STEEPNESS] * self.levels))
        self.ceiling = nn.Parameter(torch.tensor(CEILING).logit())
        self.surface_gain = nn.Parameter(torch.tensor(SURFACE_GAIN))
        start_from(self, weights)

    def _shares(self, images: list[torch.Tensor], parts: list[torch.Tensor]) -> list[torch.Tensor]:
        strengths = [mean_of_three(part.abs()) for part in parts[: self.levels]]
        share, features = self._base_share(images[self.levels], halved(strengths[self.levels - 1]))
        shares = [share]
        for step, level in enumerate(self.guidance):
            if step > 0:
                finer = self.levels - step
                image, strength = images[finer], strengths[finer] + self.faintest
                seen = torch.cat((image, self.detail_gain * parts[finer], doubled(features, image)), dim=1)
                features, logit = level(seen)
                ahead = torch.log(strength[:, :1] / strength[:, 1:])
                shares.insert(0, torch.sigmoid(logit + self.steepness[step] * ahead))
        return shares

    def _base_share(self, image: torch.Tensor, strength: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Share of CT in the coarsest image ``(B, 2, *S)``, whose details have this strength, and the features."""
        features, logit = self.guidance[0](torch.cat((image, self.detail_gain * strength), dim=1))
        brighter = torch.sigmoid(logit + self.steepness[0] * (image[:, :1] - image[:, 1:]))
        ceiling = torch.sigmoid(self.ceiling)
        surface = torch.tanh(F.relu(self.surface_gain) * strength[:, :1])
        return brighter * (ceiling + (1 - ceiling) * surface), features
