"""Names of an earlier version that still work, with a warning; they go with the next version."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
        warnings.warn(
            f"{module}.{name} is {names[name]} now; the old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(owner), new)

    return find
