"""Load a checkpoint that must fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from spinefuse_ext.networks.planes import fit_axial, seen_planes, with_seen_planes, without_axial
from spinefuse_ext.safe_load import load_plain
from spinefuse_ext.validation import WeightsError, check_exists

#: Where ``PairSegNet`` holds its fusion network.
FUSION = "channels.fusion."


def load_weights(
    network: torch.nn.Module, path: str | Path, device: torch.device | str = "cpu", *, keep_planes: bool = False
) -> None:
    """Load a checkpoint into ``network``; see :func:`fitting_weights` for what is accepted and raised.

    With ``keep_planes`` the network keeps its own :class:`~spinefuse_ext.networks.SeenPlanes`: it goes on to learn from
    slices of these, whatever the weights learnt before, and a network for axial slices is left out.
    """
    own = seen_planes(network) if keep_planes else {}
    network.load_state_dict(fitting_weights(network, path, device, axial=not keep_planes) | own)


def fitting_weights(
    network: torch.nn.Module, path: str | Path, device: torch.device | str = "cpu", *, axial: bool = True
) -> dict[str, torch.Tensor]:
    """Read the weights of ``network``: a plain state dict, or one under the key ``model`` or ``network``.

    With ``axial`` those of a network for axial slices are among them, where the file has one, and ``network`` gets it.

    A network without weights, such as a classical fusion rule, needs no checkpoint: ``path`` is not looked at.

    Raises:
        MissingPathError: no such file.
        WeightsError: the file is no checkpoint, or it belongs to another network (names or shapes differ).
    """
    if not network.state_dict():
        return {}
    path = check_exists(path, "The checkpoint")
    try:
        state: dict[str, Any] = dict(load_plain(path, device))
        state = next((state[key] for key in ("model", "network") if isinstance(state.get(key), dict)), state)
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise TypeError("not every entry is a tensor")
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} is not a checkpoint of tensors; train one first.") from error
    before = network.state_dict()
    state = _own_part(before, state)
    state = with_seen_planes(network, state if axial else without_axial(state))
    own = network.state_dict()
    missing, foreign = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    other_shape = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or foreign or other_shape:
        fit_axial(network, before)
        raise WeightsError(
            f"{path} belongs to another network: {len(missing)} of {len(own)} weights are missing, {len(foreign)} are "
            f"unknown, {len(other_shape)} have another shape{_example(own, state, other_shape, missing, foreign)}. "
            f"{_cure(own, state, other_shape)}, or the checkpoint of this network."
        )
    return state


def _own_part(own: dict[str, torch.Tensor], state: dict[str, Any]) -> dict[str, Any]:
    """Of a segmentation network with a fusion network inside, the weights of that, where it is asked for."""
    inner = {name.removeprefix(FUSION): value for name, value in state.items() if name.startswith(FUSION)}
    return inner if inner and own.keys() == inner.keys() else state


def _example(
    own: dict[str, torch.Tensor],
    state: dict[str, torch.Tensor],
    other_shape: list[str],
    missing: list[str],
    foreign: list[str],
) -> str:
    if other_shape:
        name = other_shape[0]
        return f" (for example {name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} here)"
    return f" (for example {(missing or foreign)[0]})"


def _cure(own: dict[str, torch.Tensor], state: dict[str, torch.Tensor], other_shape: list[str]) -> str:
    """What to give; where one size alone differs, and biases have it, that is the number of outputs."""
    sizes = {
        (old, new)
        for name in other_shape
        for old, new in zip(state[name].shape, own[name].shape, strict=False)
        if old != new
    }
    if len(sizes) == 1 and any(own[name].ndim == state[name].ndim == 1 for name in other_shape):
        ((old, new),) = sizes
        return f"It has {old} outputs, this network {new}: give as many classes (labels) as in training"
    return "Give the same network_def as in training"
