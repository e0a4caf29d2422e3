"""Room for the image that a case does not have, so that cases with CT, MR or both fit in one batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from spinefuse_ext.validation import ImageReadError, check_numbers


class FillAbsentd(MapTransform):
    """Give a case a constant image under each key that it lacks, of the size and place of the first that it has.

    The constant says "no such image": choose what scaling turns to 0, air for a CT. A network must be trained with it.

    Args:
        keys: of the images ``(C, *S)``, of which a case has one or more.
        value: of all voxels, one for all keys or one each; -1000 HU for a CT.

    Raises:
        ImageReadError: from a call, when a case has none of them.
    """

    def __init__(self, keys: KeysCollection, value: float | Sequence[float] = 0.0) -> None:
        super().__init__(keys)
        values = [value] * len(self.keys) if isinstance(value, (int, float)) else value
        self.value = check_numbers("value", values, length=len(self.keys))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        held = [key for key in self.keys if key in d]
        if not held:
            wanted, got = (", ".join(map(str, names)) for names in (self.keys, d))
            raise ImageReadError(f"Expected one of the images {wanted}, got {got}.")
        like = d[held[0]]
        for key, value in zip(self.keys, self.value, strict=True):
            if key not in d:
                d[key] = torch.full_like(like, value)
        return d
