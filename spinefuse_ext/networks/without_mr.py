"""Where the MR shows nothing there is nothing to fuse: such slices are copied from the CT, without the network."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

from spinefuse_ext.networks.contribution import VISIBLE

logger = logging.getLogger(__name__)

Fuse = Callable[..., torch.Tensor]


def shows_mr(pairs: torch.Tensor) -> torch.Tensor:
    """Which pairs of the batch ``(B, 2, *S)`` hold a voxel whose MR can be told from black: ``(B,)``.

    Beside its field an MR is 0, or nearly so where resampling took a rounding error of the voxels next to it.
    """
    return pairs[:, 1:].flatten(1).amax(1) >= VISIBLE


def copy_without_mr(fuse: Fuse) -> Fuse:
    """Return a fusion of pairs ``(B, 2, *S)`` to ``(B, 1, *S)`` that asks ``fuse`` only for those that show an MR.

    The others are their CT. A network that has the attribute ``fuses`` False (a modality by itself) is asked for all.
    """
    if not getattr(fuse, "fuses", True):
        return fuse

    def fused_or_copied(pairs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        shown = shows_mr(pairs)
        if shown.all():
            return fuse(pairs, *args, **kwargs)
        fused = pairs[:, :1].clone()
        if shown.any():
            fused[shown] = fuse(pairs[shown], *args, **kwargs).to(fused.dtype)
        return fused

    return fused_or_copied


class CopyWithoutMRInferer(Inferer):
    """Another inferer whose network is given only the windows that show an MR; it logs how many do not.

    The others are copied from the CT by :func:`copy_without_mr`. So of a CT of the whole trunk with an MR of the lumbar
    spine, the network fuses the slices that go through that spine.

    Args:
        inferer: cuts pairs ``(B, 2, *S)`` into windows, in 2-D whole slices where they fit.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: torch.Tensor, network: Fuse, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Pair ``(B, 2, *S)`` in [0, 1] -> fused image ``(B, 1, *S)``."""
        fuse = copy_without_mr(network)
        if fuse is network:
            return self._run(inputs, network, *args, **kwargs)
        seen, copied, voxels = 0, 0, 0

        def counted(pairs: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
            nonlocal seen, copied, voxels
            seen, copied = seen + len(pairs), copied + int((~shows_mr(pairs)).sum())
            voxels += pairs[:, 0].numel()
            return fuse(pairs, *more, **options)

        result = self._run(inputs, counted, *args, **kwargs)
        if copied:
            what = "slices" if voxels == math.prod(inputs[:, 0].shape) else "windows"  # which overlap
            logger.info("%d of %d %s show no MR and are copied from the CT.", copied, seen, what)
        return result

    def _run(self, inputs: torch.Tensor, network: Fuse, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = self.inferer(inputs, network, *args, **kwargs)
        return result
