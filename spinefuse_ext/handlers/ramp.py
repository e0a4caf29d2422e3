"""Gaussian ramp-up of a weight over the first part of training."""

from __future__ import annotations

import math

from monai.engines import Workflow

from spinefuse_ext.validation import ConfigError


def gaussian_ramp(progress: float, fraction: float, maximum: float, start: float = 0.0) -> float:
    """``maximum * exp(-5 (1 - climbed) ** 2)`` (Laine and Aila, ICLR 2017), 0 before ``start``.

    ``climbed`` goes from 0 at ``start`` to 1 at ``start + fraction`` and stays there.

    Args:
        progress: part of the training that is over, 0 to 1.
        fraction: part of the training that the climb takes; 0 means full from the start.
        maximum: the full weight.
        start: part of the training before it, without any weight (a supervised warm-up), 0 to 1.
    """
    if progress < start:
        return 0.0
    climbed = 1.0 if fraction <= 0 else min((progress - start) / fraction, 1.0)
    return maximum * math.exp(-5.0 * (1.0 - climbed) ** 2)


def training_progress(engine: Workflow) -> float:
    """Part of the training that is over at the current iteration, 0 to 1; 1 once past the planned end.

    The end is ``engine.planned_epochs`` when the engine has such a number, else ``max_epochs`` of its state.

    Raises:
        ConfigError: when the engine does not know how long an epoch is.
    """
    if engine.state.epoch_length is None:
        raise ConfigError("Expected an engine with a known epoch_length, got None. Give the trainer an epoch_length.")
    epochs = getattr(engine, "planned_epochs", None) or engine.state.max_epochs
    return min(float(engine.state.iteration) / (epochs * engine.state.epoch_length), 1.0)
