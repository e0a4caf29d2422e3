"""Resampling onto the grid of a large image, in memory that does not grow with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import Any, cast

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ResampleToMatch
from monai.utils import ImageMetaKey

#: Voxels of the grid that are resampled at once; each takes some 50 bytes on the way.
SLAB_VOXELS = 2**22


class ResampleToGridd(MapTransform):
    """MONAI's ``ResampleToMatchd`` for images ``(C, X, Y, Z)``, linear, and 0 where an image does not reach.

    MONAI holds the places of all voxels at once, 2.5 GiB for a CT of 512 x 512 x 200. Here the grid is filled slab by
    slab, and slabs that the image does not reach cost nothing.

    Args:
        keys: of the images.
        key_dst: of the image whose grid they are brought to.
        allow_missing_keys: pass over keys that a case does not have.
    """

    def __init__(self, keys: KeysCollection, key_dst: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.key_dst = key_dst
        self.resample = ResampleToMatch(mode="bilinear", padding_mode="zeros")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._resampled(d[key], d[self.key_dst])
        return d

    def _resampled(self, image: MetaTensor, grid: MetaTensor) -> MetaTensor:
        voxels = image.new_zeros((len(image), *grid.shape[1:]), dtype=torch.float32).as_subclass(torch.Tensor)
        rows = max(1, SLAB_VOXELS // math.prod(grid.shape[2:]))
        for first in range(0, grid.shape[1], rows):
            part = _slab(grid, first, first + rows)
            if _reaches(image, part):
                made = cast(MetaTensor, self.resample(image, img_dst=part))
                voxels[:, first : first + rows] = made.as_tensor()
        meta = deepcopy(grid.meta)
        meta[ImageMetaKey.FILENAME_OR_OBJ] = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ, "")
        return MetaTensor(voxels, affine=grid.affine, meta=meta)


def _slab(grid: MetaTensor, first: int, last: int) -> MetaTensor:
    """The rows ``first`` to ``last`` (not included) of a grid along its first axis; no copy."""
    shift = torch.eye(4, dtype=torch.float64)
    shift[0, 3] = first
    return MetaTensor(grid.as_tensor()[:1, first:last], affine=grid.affine.to(torch.float64) @ shift)


def _reaches(image: MetaTensor, grid: MetaTensor) -> bool:
    """Whether the box around ``grid`` comes within a voxel of the image."""
    ends = itertools.product(*([0.0, size - 1.0] for size in grid.shape[1:]))
    corners = torch.tensor([[*end, 1.0] for end in ends], dtype=torch.float64).t()
    to_image = torch.linalg.inv(image.affine.to(torch.float64)) @ grid.affine.to(torch.float64)
    places = (to_image @ corners)[:3]
    sizes = torch.tensor(image.shape[1:], dtype=torch.float64)
    return bool(((places.amax(1) > -1.5) & (places.amin(1) < sizes + 0.5)).all())
