"""A student and its exponential moving average as one module: one checkpoint holds both."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from spinefuse_ext.enums import MeanTeacherOutput
from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import check_choice


class MeanTeacherNet(nn.Module):
    """A network and a teacher of the same build whose weights follow it (Tarvainen and Valpola, NeurIPS 2017).

    In training the forward is the student's: ``(B, C, *S) -> (N, B, K, *S)`` logits, or a mapping that holds them. In
    evaluation ``(B, C, *S) -> (B, K, *S)`` probabilities of the student or the teacher. The teacher has no gradient:
    ``MeanTeacherHandler`` asks it for pseudo-labels by :meth:`teach` and lets it follow by :meth:`follow`.

    Args:
        network: the student, for example ``SingleSegNet`` or ``DualSegNet``; the teacher starts as a copy of it.
        output: whose probability evaluation returns, ``student`` or ``teacher``.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.
    """

    def __init__(
        self, network: nn.Module, output: str = MeanTeacherOutput.STUDENT, *, weights: str | Path | None = None
    ) -> None:
        super().__init__()
        self.student = network
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.output = str(check_choice("output", output, MeanTeacherOutput).value)
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> the student's training output, or probabilities ``(B, K, *S)`` in evaluation."""
        if self.training or self.output == "student":
            return self.student(x)
        return self.teacher(x)

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def teach(self, x: torch.Tensor) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> the teacher's logits ``(N, B, K, *S)``, in training mode and without gradient.

        As in UA-MT's code, dropout is on and batch norm uses the batch's own statistics.
        """
        with torch.no_grad():
            returned = self.teacher.train()(x)
        logits: torch.Tensor = returned["logits"] if isinstance(returned, dict) else returned
        return logits

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def follow(self, decay: float) -> None:
        """Move the teacher's parameters to ``decay * teacher + (1 - decay) * student``; running statistics stay."""
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.teacher.parameters()), [p.detach() for p in self.student.parameters()], 1.0 - decay
            )
