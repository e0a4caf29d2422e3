"""A program in the place of weights."""

# mypy: ignore-errors
# TorchScript infers what these methods return, and takes a comment on types for its own.

from __future__ import annotations

from typing import Any

import torch


class WritesFile(torch.nn.Module):
    """A network that writes a file when its TorchScript archive is loaded."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker
        self.weight = torch.nn.Parameter(torch.zeros(2))

    @torch.jit.export
    def __getstate__(self):
        return (self.marker, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        self.marker = state[0]
        self.weight = state[1]
        self.training = state[2]
        torch.save(state[1], state[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def save_program(path: Any, marker: Any) -> None:
    """Write an archive that leaves ``marker`` when something runs it."""
    torch.jit.script(WritesFile(str(marker))).save(str(path))
