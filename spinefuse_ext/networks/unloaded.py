"""Networks that come with trained weights, and that refuse to run while they have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from spinefuse_ext import plain_errors
from spinefuse_ext.networks.weights import load_weights
from spinefuse_ext.validation import SpinefuseError, WeightsError

_LOADED_FROM: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


class Unloaded:
    """Forward pre-hook of a network that should hold trained weights and does not: it refuses to run.

    Args:
        error: why nothing could be loaded.
        weights: the path that was tried; a relative one is looked for from the folder of the process.
    """

    def __init__(self, error: SpinefuseError, weights: str | Path) -> None:
        where = "" if Path(weights).is_absolute() else " Run in the folder of the bundle, or give --bundle_root PATH."
        self.error = type(error)(f"{error}{where}")  # without its traceback, which would keep what was read in memory

    def __call__(self, network: nn.Module, inputs: Any) -> None:
        raise WeightsError(f"The network has no trained weights, so it does not run. {self.error}")


def start_from(network: nn.Module, weights: str | Path | None, device: torch.device | str = "cpu") -> None:
    """Load the checkpoint ``weights`` into ``network``; where that fails, let it refuse to run until it is loaded.

    The call comes from configs, where the file may still be named in another way: MONAI's commands and handlers, and
    MONAI Label, build a network first and load a file of their own into it. ``load_state_dict`` of every weight, by
    whomever, lifts the refusal. A command of ``monai.bundle`` that ends with it says so in one line. Nothing happens
    for None, for a network without weights, and where this file is in it.

    Args:
        network: built a moment ago.
        weights: path of a checkpoint, as :func:`load_weights` takes it.
        device: where the network is.
    """
    if weights is None or _LOADED_FROM.get(network) == str(weights):
        return
    try:
        load_weights(network, weights, device)
    except SpinefuseError as error:
        if plain_errors.runs_as_bundle_command():
            plain_errors.install()  # commands such as verify_net_in_out run no `initialize`, which else does it
        if _mark(network) is None:
            network.register_forward_pre_hook(Unloaded(error, weights))
            network.register_load_state_dict_post_hook(_lift)
    else:
        _LOADED_FROM[network] = str(weights)


def check_loaded(network: nn.Module) -> nn.Module:
    """Return ``network``; raise the error of :func:`start_from` when its weights were not loaded, nor others since.

    Raises:
        MissingPathError: no such checkpoint.
        WeightsError: it belongs to another network, or holds no weights.
    """
    mark = next((mark for module in network.modules() if (mark := _mark(module)) is not None), None)
    if mark is not None:
        raise mark.error
    return network


def _mark(network: nn.Module) -> Unloaded | None:
    return next((hook for hook in network._forward_pre_hooks.values() if isinstance(hook, Unloaded)), None)


def _lift(network: nn.Module, keys: Any) -> None:
    """Hook of ``load_state_dict``: the refusal ends when no weight was left out."""
    if not keys.missing_keys:
        for number, hook in list(network._forward_pre_hooks.items()):
            if isinstance(hook, Unloaded):
                del network._forward_pre_hooks[number]
