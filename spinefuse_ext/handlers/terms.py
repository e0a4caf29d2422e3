"""Further terms of the loss, which handlers contribute."""

from __future__ import annotations

import torch
from monai.engines import Workflow

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.validation import ConfigError


def add_term(engine: Workflow, name: str, value: torch.Tensor, weight: float | torch.Tensor = 1.0) -> None:
    """Add ``weight * value`` to the loss of this step, which reports it as ``name``; call at ``FORWARD_COMPLETED``.

    Args:
        engine: a ``SemiSupervisedTrainer``.
        name: of the term; one that ends with ``loss`` is logged with the others.
        value: a scalar, with its gradient.
        weight: what it counts.

    Raises:
        ConfigError: when this step has a term of that name already, or ``value`` is no scalar.
    """
    terms: dict[str, torch.Tensor] = engine.state.output.setdefault(Keys.TERMS, {})
    if name in terms or value.ndim:
        raise ConfigError(
            f"Expected one scalar {name} a step, got shape {tuple(value.shape)}, terms: {', '.join(terms)}; list the "
            "handler that adds it once."
        )
    terms[name] = weight * value.float()
