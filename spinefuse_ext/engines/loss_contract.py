"""Whether a loss can be called as a trainer calls it, told before the first step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from monai.utils import CommonKeys

from spinefuse_ext.validation import ConfigError


def check_takes_output(loss: Callable[..., Any] | None) -> None:
    """Raise ``ConfigError``, which names the adapter, for a loss that needs more than the trainer's output."""
    if loss is None:
        return
    try:
        parameters = inspect.signature(getattr(loss, "forward", loss)).parameters.values()
    except (TypeError, ValueError):  # a builtin, of which Python does not say what it takes
        return
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one.name for one in parameters if one.kind in placed and one.default is one.empty]
    if len(needed) > 1:
        raise ConfigError(
            f"{_advice(loss)}; it takes ({', '.join(needed)}), where SemiSupervisedTrainer has one dictionary for it."
        )


def check_terms(loss: Callable[..., Any], terms: Any) -> Mapping[str, Any]:
    """Return what a loss made of the trainer's output; raise ``ConfigError`` unless it has ``loss``."""
    if not isinstance(terms, Mapping) or CommonKeys.LOSS not in terms:
        raise ConfigError(f"{_advice(loss)}; it returned {type(terms).__name__} without the sum under 'loss'.")
    return terms


def _advice(loss: Callable[..., Any]) -> str:
    name = getattr(loss, "__name__", type(loss).__name__)
    return (
        f"The loss {name} has to be wrapped, as "
        f'{{"_target_": "spinefuse_ext.losses.PlainLoss", "loss": {{"_target_": "{name}"}}}}'
    )
