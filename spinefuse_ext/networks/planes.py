"""In which planes a 2-D network learnt to read slices: its weights say so."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from monai.utils import ensure_tuple
from torch import nn

from spinefuse_ext.validation import ConfigError, WeightsError

PLANES = ("sagittal", "coronal", "axial")
BUFFER = "seen_planes"
#: Where a checkpoint holds the weights of a network for axial slices alone, and what its ``seen_planes`` then says.
AXIAL, BY_ITSELF = "axial", 2


class SeenPlanes(nn.Module):
    """A network whose weights say in which planes it learnt to read slices.

    They stand in the checkpoint as ``seen_planes``, three numbers for sagittal, coronal and axial; one without them is
    of a network that learnt a single plane, the one that its slices are cut in (``slice_axis``). 1 is a plane that the
    network learnt. 2 is one that a second network inside it learnt, which knows nothing else: it is built when a
    checkpoint holds it (``axial``), of the kind of ``axial_kind``, and reads the axial slices of an image.

    Args:
        planes: names; None for the single plane.

    Raises:
        ConfigError: when a name is none of ``PLANES``.
    """

    def __init__(self, planes: str | Sequence[str] | None = None) -> None:
        super().__init__()
        learnt = check_planes(planes, PLANES) if planes is not None else []
        self.register_buffer(BUFFER, torch.tensor([name in learnt for name in PLANES], dtype=torch.uint8))
        self.axial: nn.Module | None = None

    def axial_kind(self) -> nn.Module:
        """A network like that for axial slices; without one there are none."""
        raise NotImplementedError(f"{type(self).__name__} has no network for axial slices.")

    def axial_input(self, x: torch.Tensor) -> torch.Tensor:
        """What the network for axial slices sees of ``(B, C, *S)``."""
        return x

    def has_axial(self) -> bool:
        """Whether a network of its own reads axial slices."""
        return self.axial is not None and int(getattr(self, BUFFER)[PLANES.index("axial")]) == BY_ITSELF

    def each_axial(self, x: torch.Tensor) -> torch.Tensor:
        """Axial slices ``(B, C, H, W)`` -> probabilities ``(B, 2 K, H, W)``: of the slice, and of its mirror image.

        A body is nearly the same on its left and right, so both are opinions of equal worth.
        """
        if self.axial is None:
            raise WeightsError("No network for axial slices was loaded; load a checkpoint that holds one.")
        seen, axial = self.axial_input(x), self.axial
        mirrored = axial(seen.flip(-1)).flip(-1)
        return torch.cat((torch.softmax(axial(seen), dim=1), torch.softmax(mirrored, dim=1)), dim=1)

    def learnt_planes(self) -> frozenset[str]:
        """Names of the planes that its weights can read."""
        own = 1 + self.has_axial()
        return frozenset(name for name, kind in zip(PLANES, getattr(self, BUFFER), strict=True) if 0 < kind <= own)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Complete weights that were saved before networks said their planes, as PyTorch's own layers do."""
        state_dict.setdefault(prefix + BUFFER, torch.zeros(len(PLANES), dtype=torch.uint8))
        self.fit_axial(_holds_axial(state_dict, prefix))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def fit_axial(self, wanted: bool) -> None:
        """Have a network for axial slices, or none."""
        if not wanted:
            self.axial = None
        elif self.axial is None:
            self.axial = deepcopy(self.axial_kind())


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
    """A checkpoint's weights, completed where they were saved before networks said their planes.

    The networks for axial slices inside ``network`` become those that the checkpoint holds.
    """
    fit_axial(network, state)
    return {name: torch.zeros_like(value) for name, value in seen_planes(network).items()} | state


def fit_axial(network: nn.Module, state: dict[str, Any]) -> None:
    """Let the networks for axial slices inside ``network`` be those that ``state`` names."""
    for name, module in list(network.named_modules()):
        if isinstance(module, SeenPlanes):
            module.fit_axial(_holds_axial(state, f"{name}." if name else ""))


def _holds_axial(state: dict[str, Any], prefix: str) -> bool:
    return any(name.startswith(f"{prefix}{AXIAL}.") for name in state)


def without_axial(state: dict[str, Any]) -> dict[str, Any]:
    """Weights without the networks for axial slices, which a training of another plane would leave as they are."""
    return {name: value for name, value in state.items() if AXIAL not in name.split(".")}
