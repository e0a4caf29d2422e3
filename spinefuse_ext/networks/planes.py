"""In which planes a 2-D network learnt to read slices: its weights say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import ensure_tuple
from torch import nn

from spinefuse_ext.validation import ConfigError

PLANES = ("sagittal", "coronal", "axial")
BUFFER = "seen_planes"


class SeenPlanes(nn.Module):
    """A network whose weights say in which planes it learnt to read slices.

    They stand in the checkpoint as ``seen_planes``, three numbers 0 or 1 for sagittal, coronal and axial; one without
    them is of a network that learnt a single plane, the one that its slices are cut in (``slice_axis``).

    Args:
        planes: names; None for the single plane.

    Raises:
        ConfigError: when a name is none of ``PLANES``.
    """

    def __init__(self, planes: str | Sequence[str] | None = None) -> None:
        super().__init__()
        learnt = check_planes(planes, PLANES) if planes is not None else []
        self.register_buffer(BUFFER, torch.tensor([name in learnt for name in PLANES], dtype=torch.uint8))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Complete weights that were saved before networks said their planes, as PyTorch's own layers do."""
        state_dict.setdefault(prefix + BUFFER, torch.zeros(len(PLANES), dtype=torch.uint8))
        super()._load_from_state_dict(state_dict, prefix, *args)


def check_planes(planes: str | Sequence[str], known: Sequence[str]) -> list[str]:
    """Return names of planes, given as one or as a list; raise ConfigError for none, or for one that is not known."""
    given = [str(name) for name in ensure_tuple(planes)]
    if not given or not set(given) <= set(known):
        raise ConfigError(f"planes: expected one or more of {', '.join(known)}, got {', '.join(given) or 'none'}.")
    return given


def seen_planes(network: nn.Module) -> dict[str, Any]:
    """What the networks inside ``network`` say about their planes, by its name in the state dict."""
    return {name: value.clone() for name, value in network.state_dict().items() if name.rpartition(".")[2] == BUFFER}


def with_seen_planes(network: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's weights, completed where they were saved before networks said their planes."""
    return {name: torch.zeros_like(value) for name, value in seen_planes(network).items()} | state
