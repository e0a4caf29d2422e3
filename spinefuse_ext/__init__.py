"""Spine CT and MR together: networks, losses, engines and tools behind the spinefuse MONAI bundles.

``read_volume``, ``register``, ``fuse`` and ``segment`` are what the verbs of the command line do, as functions of
images; see ``spinefuse_ext.api``. They are imported when they are first asked for, as they bring PyTorch and MONAI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinefuse_ext.api import (
        Fusion,
        Registration,
        Segmentation,
        Volume,
        fuse,
        read_volume,
        register,
        segment,
    )

__version__ = "0.1.0"

__all__ = ["Fusion", "Registration", "Segmentation", "Volume", "fuse", "read_volume", "register", "segment"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from spinefuse_ext import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
