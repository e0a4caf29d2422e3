"""Losses of two tensors, such as those of MONAI, as the losses that the trainers here call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.utils import CommonKeys
from torch.nn.modules.loss import _Loss

from spinefuse_ext.enums import Consistency
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.losses.consistency import at_least_float32
from spinefuse_ext.losses.semi_supervised import SemiSupervisedLoss
from spinefuse_ext.validation import ConfigError, check_numbers

Plain = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class PlainLoss(_Loss):
    """A loss of ``(logits, label)`` in place of cross-entropy and Dice of :class:`SemiSupervisedLoss`.

    Each of the N networks is given its logits ``(B, K, *S)``, float32, and the label ``(B, 1, *S)`` of class numbers;
    the sum over networks is ``supervised_loss``. Where handlers wrote ``learns`` ``(N, B)``, each case goes through the
    loss by itself, and counts as much. Rectification, consistency and the terms of handlers are those of
    ``SemiSupervisedLoss``.

    Args:
        loss: of logits and label -> a scalar, such as ``DiceCELoss(to_onehot_y=True, softmax=True)``.
        rectification_weight: see ``SemiSupervisedLoss``; 0 leaves it out.
        consistency: see ``SemiSupervisedLoss``.
        ignore_index: label value of unknown voxels, which rectification leaves out; ``loss`` sees them and has to leave
            them out itself.

    Raises:
        ConfigError: while running, when ``loss`` refuses logits and label, or returns no scalar.
    """

    def __init__(
        self,
        loss: Plain,
        rectification_weight: float = 0.5,
        consistency: str = Consistency.BRIER,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.rest = SemiSupervisedLoss(rectification_weight, 0.0, 0.0, consistency, ignore_index)

    @property
    def ignore_index(self) -> int | None:
        """Label value of unknown voxels."""
        return self.rest.ignore_index

    def forward(self, input: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The trainer's output -> the terms and their sum ``loss``, scalars."""
        terms = self.rest(input)
        logits, label = at_least_float32(input[Keys.LOGITS_LABELLED]), input[CommonKeys.LABEL]
        with torch.autocast(logits.device.type, enabled=False):
            shares = input.get(Keys.LEARNS, [None] * len(logits))
            found = [self._of_network(one, label, share) for one, share in zip(logits, shares, strict=True)]
        terms[Keys.SUPERVISED_LOSS] = torch.stack(found).sum()
        terms[CommonKeys.LOSS] = terms[CommonKeys.LOSS] + terms[Keys.SUPERVISED_LOSS]
        return terms

    def _of_network(self, logits: torch.Tensor, label: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
        """The loss of one network's ``(B, K, *S)``; with ``share`` ``(B,)`` the weighted mean over cases."""
        if share is None:
            return scalar_loss(self.loss, logits, label)
        pairs = zip(logits.split(1), label.split(1), strict=True)
        losses = torch.stack([scalar_loss(self.loss, *pair) for pair in pairs])
        return (share * losses).sum() / share.sum().clamp(min=1e-6)


class SourcesLoss(_Loss):
    """A loss of ``(image, target)`` as a fusion loss: the weighted sum of that to the CT and that to the MR.

    Args:
        loss: of two images ``(B, 1, *S)`` in [0, 1] -> a scalar, such as ``SSIMLoss`` or ``torch.nn.L1Loss``.
        weights: of CT and MR, 0 or more.

    Raises:
        ConfigError: a weight below 0 or not two of them; while running, when ``loss`` returns no scalar.
    """

    def __init__(self, loss: Plain, weights: Sequence[float] = (0.5, 0.5)) -> None:
        super().__init__()
        self.loss = loss
        self.weights = check_numbers("weights", weights, length=2, least=0)

    def forward(self, fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        """Fused ``(B, 1, *S)``, pair ``(B, 2, *S)`` -> a scalar."""
        losses = [scalar_loss(self.loss, fused, source) for source in pair.split(1, dim=1)]
        return self.weights[0] * losses[0] + self.weights[1] * losses[1]


def scalar_loss(loss: Plain, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """``loss(input, target)``; ``ConfigError`` unless it is a scalar, or when the loss refuses these tensors."""
    name = getattr(loss, "__name__", type(loss).__name__)
    shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
    try:
        value = loss(input, target)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(f"The loss {name} refuses {shapes}: {reason}. Check its settings.") from error
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ConfigError(f'The loss {name} makes {got} of {shapes}, no scalar; set its reduction to "mean".')
    return value.reshape(())
