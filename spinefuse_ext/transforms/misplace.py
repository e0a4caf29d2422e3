"""An image put in a slightly wrong place: what an imperfect registration costs."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from spinefuse_ext.validation import check_number

logger = logging.getLogger(__name__)


class Misplaced(MapTransform):
    """Move an image by so many mm in a direction of its own; no voxel changes, its affine does.

    The direction follows from the name of the file, so that a case is moved alike in training, in inference and by
    every method that is compared.

    Args:
        keys: of the images ``(C, X, Y, Z)``.
        distance_mm: how far.
        allow_missing_keys: pass over keys that a case does not have; where it has none of them, the log says so once.

    Raises:
        ConfigError: a negative distance.
    """

    def __init__(self, keys: KeysCollection, distance_mm: float = 0.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.distance_mm = check_number("distance_mm", distance_mm, least=0)
        self._told = False

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if not self._told and not any(key in d for key in self.keys):
            self._told = True
            logger.warning(
                "No image is moved by %g mm: a case has no %s.", self.distance_mm, ", ".join(map(str, self.keys))
            )
        for key in self.key_iterator(d):
            name = "/".join(str(d[key].meta.get("filename_or_obj", "")).replace("\\", "/").split("/")[-2:])
            direction = np.random.default_rng(crc32(name.encode())).normal(size=3)
            moved = d[key].clone()
            moved.affine = moved.affine.clone()
            moved.affine[:3, 3] += torch.as_tensor(self.distance_mm * direction / np.linalg.norm(direction))
            d[key] = moved
        return d
