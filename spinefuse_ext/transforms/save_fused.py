"""Write the fused volume as floats, or as integers with one scale for the whole volume."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import SaveImaged

from spinefuse_ext.validation import ConfigError, ImageReadError

#: Type on disk -> the stored integer that stands for 1; None for floats, which are stored as they are.
TOPS: dict[str, int | None] = {"float32": None, "uint16": 65535, "int16": 32767}


class SaveFusedd(SaveImaged):
    """MONAI's ``SaveImaged`` for NIfTI images ``(C, *S)`` in [0, 1] with a choice of the type on disk.

    As integer, 0 is stored as 0 and 1 as the largest number of the type, whatever values the volume holds: slices and
    patients keep one scale, and the header's slope gives readers 0 to 1 back, within half a step (8e-6 for uint16,
    1.5e-5 for int16). Values beyond [0, 1] are cut off. The data stay unchanged.

    Args:
        keys: of images to write.
        output_dtype: ``float32``, ``uint16`` or ``int16``.
        options: of ``SaveImaged``; for integers the ``writer`` must know a slope, as ``ScaledNibabelWriter`` does.

    Raises:
        ConfigError: another type.
        ImageReadError: from a call, when a volume to be written as integers holds values that are not finite.
    """

    def __init__(self, keys: KeysCollection, *, output_dtype: str = "float32", **options: Any) -> None:
        if output_dtype not in TOPS:
            raise ConfigError(f"output_dtype must be one of {', '.join(TOPS)}, got {output_dtype}.")
        super().__init__(keys, output_dtype=np.dtype(output_dtype), **options)
        self.top = TOPS[output_dtype]
        if self.top is not None:
            self.set_options(write_kwargs={"slope": 1 / self.top})  # type: ignore[no-untyped-call]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if self.top is not None:
            for key in self.key_iterator(d):
                d[key] = _levels(d[key], self.top)
        super().__call__(d)  # type: ignore[no-untyped-call]
        return dict(data)


def _levels(image: torch.Tensor, top: int) -> torch.Tensor:
    """``(C, *S)`` in [0, 1] -> whole numbers from 0 to ``top``; float64, as float32 cannot tell all of them apart."""
    wrong = int((~image.isfinite()).sum())
    if wrong:
        name = getattr(image, "meta", {}).get("filename_or_obj", "a case")
        raise ImageReadError(
            f"The fused volume of {name} holds {wrong} values that are not finite and have no integer; look at the "
            "input and the weights, or write it with output_dtype float32."
        )
    return (image.double().clamp(0, 1) * top).round()
