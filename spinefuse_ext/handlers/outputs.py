"""What handlers of other libraries need to be told about an engine's output, as functions that JSON can name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.utils import ImageMetaKey

from spinefuse_ext.enums import CaseKeys


def loss_terms(also: Sequence[str] = ()) -> Callable[[Any], dict[str, float]]:
    """Return a function that picks every scalar whose name ends with ``loss`` from a trainer's output.

    Args:
        also: further scalars to pick where the output has them, for example ``disagreement``.
    """

    def pick(output: Any) -> dict[str, float]:
        first = output[0] if isinstance(output, list) else output
        return {
            str(name): float(value)
            for name, value in first.items()
            if (str(name).endswith("loss") or name in also)
            and (not isinstance(value, torch.Tensor) or value.numel() == 1)
        }

    return pick


def case_meta() -> Callable[[Sequence[dict[str, Any]]], list[dict[str, str]]]:
    """Return a function that names each case of a batch for MONAI's ``MetricsSaver``: its patient, else its file."""

    def name(batch: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
        return [
            {str(ImageMetaKey.FILENAME_OR_OBJ): str(item.get(CaseKeys.PATIENT) or _filename(item))} for item in batch
        ]

    return name


def _filename(item: dict[str, Any]) -> str:
    return str(item[CaseKeys.IMAGE].meta.get(ImageMetaKey.FILENAME_OR_OBJ, "case"))
