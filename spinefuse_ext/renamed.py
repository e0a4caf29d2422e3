"""Names of an earlier version that still work, with a warning; they go with the next version."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

logger = logging.getLogger(__name__)


def renamed(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Return what a module takes as its ``__getattr__``, so that old names give what the new ones are.

    Args:
        module: ``__name__`` of the module that had the old names.
        names: old name to the whole dotted name of today.
        otherwise: what any other name is asked of, such as ``names_without``; without it there is none.
    """

    def find(name: str) -> Any:
        if name not in names and otherwise is not None:
            return otherwise(name)
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        owner, _, new = names[name].rpartition(".")
        sentence = f"{module}.{name} is {names[name]} now; the old name goes with the next version."
        warnings.warn(sentence, DeprecationWarning, stacklevel=2)
        _log_once(sentence)
        return getattr(import_module(owner), new)

    return find


@cache
def _log_once(sentence: str) -> None:
    """Log what whoever runs a config would not see as a warning, the first time in this process."""
    logger.warning("%s", sentence)
