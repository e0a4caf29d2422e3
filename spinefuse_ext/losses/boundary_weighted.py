"""Cross-entropy and intersection over union with more weight near boundaries, for any number of classes."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Pool
from torch import nn
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.consistency import at_least_float32
from spinefuse_ext.validation import ConfigError, check_number, check_same_shape


def boundary_weight(target: torch.Tensor, window: int = 31, gain: float = 5.0) -> torch.Tensor:
    """``1 + gain * d`` with ``d`` how much a voxel differs from its surroundings: ``(B, K, *S) -> (B, 1, *S)``.

    ``d`` is half the absolute difference, summed over classes, of a voxel's class probabilities and their mean in the
    cube of ``window`` voxels around it; what lies outside of the image is background. For one-hot targets it is the
    share of other classes in the window. With two classes it is ``|mean(y) - y|`` of the foreground, the weight of
    F3Net (Wei, Wang, Huang, AAAI 2020) that Min-Max Similarity uses.
    """
    foreground = target[:, 1:]
    difference = _window_mean(foreground, window) - foreground
    background = difference.sum(dim=1, keepdim=True)  # the same with the other sign, as the classes sum to one
    return 1 + gain * (difference.abs().sum(dim=1, keepdim=True) + background.abs()) / 2


def _window_mean(x: torch.Tensor, window: int) -> torch.Tensor:
    """Mean over a cube of ``window`` voxels around each, zeros beyond the border; axis by axis."""
    dims = x.ndim - 2
    for axis in range(dims):
        before = [0, 0] * (dims - 1 - axis)  # torch pads from the last axis on
        x = nn.functional.pad(x, [*before, window // 2, window // 2])
        x = Pool[Pool.AVG, dims]([window if number == axis else 1 for number in range(dims)], stride=1)(x)
    return x


class BoundaryWeightedLoss(_Loss):
    """Weighted cross-entropy + weighted intersection over union (F3Net, AAAI 2020; in Min-Max Similarity, TMI 2023).

    For each case, with ``w`` the :func:`boundary_weight` of the target ``q``:
    ``sum(w * CE(q, p)) / sum(w) + mean over foreground classes of 1 - (sum(w p q) + 1) / (sum(w (p + q - p q)) + 1)``.
    With two classes this is the published formula for one sigmoid channel, the difference of the two logits; more
    classes take the same terms, averaged over the foreground. No gradient reaches the target.

    Departures from the code of Min-Max Similarity, which by a legacy flag takes the plain mean of the cross-entropy
    and applies the sigmoid twice, and adds a Dice loss that the paper does not name: as F3Net writes it.

    Args:
        window: side of the neighbourhood in voxels, odd.
        gain: weight of a voxel in foreign surroundings is ``1 + gain``.
    """

    def __init__(self, window: int = 31, gain: float = 5.0) -> None:
        super().__init__()
        if check_number("window", window, least=1, whole=True) % 2 == 0:
            raise ConfigError(f"The setting window is an odd number of voxels, got {window}.")
        self.window = window
        self.gain = check_number("gain", gain, least=0)

    def forward(
        self,
        input: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor | None = None,
        share: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits ``(B, K, *S)`` -> scalar, in float32.

        Args:
            input: logits.
            target: probabilities or one-hot classes ``(B, K, *S)``.
            mask: ``(B, 1, *S)``, the voxels that count; all when omitted.
            share: ``(B,)``, what each case counts in the mean; equally when omitted. All 0 gives 0.

        Raises:
            ValueError: when the shapes of input and target differ.
        """
        check_same_shape(input=input, target=target)
        target = at_least_float32(target.detach())
        weight = boundary_weight(target, self.window, self.gain)
        weight = weight if mask is None else weight * mask
        log_p = torch.log_softmax(at_least_float32(input), dim=1)
        over = tuple(range(2, input.ndim))
        surprise = -(target * log_p).sum(dim=1, keepdim=True)
        cross_entropy = (weight * surprise).sum(over) / weight.sum(over).clamp(min=1)
        p, q = log_p.exp()[:, 1:], target[:, 1:]
        overlap = (weight * p * q).sum(over)
        union = (weight * (p + q)).sum(over) - overlap
        per_case = cross_entropy[:, 0] + (1 - (overlap + 1) / (union + 1)).mean(dim=1)
        share = torch.ones_like(per_case) if share is None else share.to(per_case)
        return (share * per_case).sum() / share.sum().clamp(min=1)
