"""Sums over all ranks, so that a loss of a ratio is that of the whole batch however many processes share it."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch


def over_ranks(sums: torch.Tensor) -> torch.Tensor:
    """Sums of this rank, any shape -> the sums over all ranks; with one process they are returned as they are.

    Its gradient flows into this rank's part alone, times the number of ranks. ``DistributedDataParallel`` takes the
    mean of the ranks' gradients, which then is the gradient of the loss of the whole batch, even of one that is a ratio
    of sums, as Dice and the mean over the voxels of a mask are. Every rank must call it equally often.
    """
    ranks = idist.get_world_size()
    if ranks == 1:
        return sums
    total: Any = idist.all_reduce(sums.detach().clone())
    own = sums * ranks
    return total + (own - own.detach())


def mean_over_ranks(value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """``sum(value) / sum(count)`` over all ranks, two scalars -> a scalar; 0 where nothing counts."""
    total, counted = over_ranks(torch.stack((value, count.to(value.dtype)))).unbind()
    return total / counted.clamp(min=1)


def foreground_dice_loss(
    probabilities: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, smooth: float = 1e-5
) -> torch.Tensor:
    """Mean over foreground classes of ``1 - (2 sum(p y) + s) / (sum(p p) + sum(y y) + s)``, over all ranks' batches.

    ``monai.losses.DiceLoss(include_background=False, squared_pred=True, batch=True)`` gives this value for one process,
    but not its sums, which must be joined before they are divided.

    Args:
        probabilities: ``(B, K, *S)``.
        target: same shape, one-hot or soft.
        weight: ``(B, 1, *S)``, what each voxel counts; all alike when omitted. Where none counts the loss is 0.
        smooth: added to both sides of the ratio.
    """
    p, y = probabilities[:, 1:], target[:, 1:]
    if weight is not None:
        p, y = p * weight, y * weight
    over = [0, *range(2, p.ndim)]
    sums = torch.stack(((p * y).sum(over), p.square().sum(over), y.square().sum(over)))
    overlap, predicted, true = over_ranks(sums).unbind()
    return (1 - (2 * overlap + smooth) / (predicted + true + smooth)).mean()
