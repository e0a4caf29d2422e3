"""Choice of the cache that stands between volumes on disk and the random crops of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, Dataset
from monai.transforms import (
    Compose,
    RandCropByLabelClassesd,
    RandCropByPosNegLabeld,
    RandomizableTrait,
    RandSpatialCropd,
    RandSpatialCropSamplesd,
    RandWeightedCropd,
    Transform,
)

from spinefuse_ext.data.disk_cache import DiskCacheDataset
from spinefuse_ext.enums import Cache
from spinefuse_ext.progress_bar import shows_bars
from spinefuse_ext.validation import ConfigError

#: Crops that only read what they are given; what they return may be a view of it. Ours say so by ``reads_only``.
_CROPS = (
    RandCropByLabelClassesd,
    RandCropByPosNegLabeld,
    RandSpatialCropd,
    RandSpatialCropSamplesd,
    RandWeightedCropd,
)


def make_dataset(
    data: Sequence[dict[str, Any]],
    transform: Callable[..., Any],
    cache: str = Cache.MEMORY,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Cache what the transforms before the first random one give, so that an epoch only draws crops of it.

    A case that ``data`` repeats, for several crops of it per epoch, is loaded and kept once. When the first random
    transform is a crop, the crop is copied and not the whole case; what is cached never changes.

    Args:
        data: items, as :func:`~spinefuse_ext.data.load_datalist` gives them.
        transform: what makes a training sample of an item.
        cache: a member of :class:`~spinefuse_ext.enums.Cache`. ``"memory"`` holds all cases, loaded at the start;
            ``"disk"`` writes each to a file when it is first asked for, see
            :class:`~spinefuse_ext.data.DiskCacheDataset`; ``"none"`` loads a case anew for each crop.
        cache_dir: folder of the files, for ``"disk"`` alone.

    Raises:
        ConfigError: an unknown ``cache``, a ``cache_dir`` that this cache does not use, or none where it needs one.
    """
    if cache not in set(Cache):
        raise ConfigError(f"There is no cache {cache!r}; choose one of {', '.join(Cache)}.")
    if cache == Cache.DISK and not cache_dir:
        raise ConfigError("The cache 'disk' needs a folder; give cache_dir, or choose the cache 'memory' or 'none'.")
    if cache != Cache.DISK and cache_dir:
        raise ConfigError(
            f"The cache {str(cache)!r} writes no files into cache_dir {cache_dir}; set cache to 'disk' or leave "
            "cache_dir out."
        )
    composed = transform if isinstance(transform, Compose) else Compose(transform)
    first = composed.get_index_of_first(lambda t: isinstance(t, RandomizableTrait) or not isinstance(t, Transform))
    cut = None if first is None else composed.transforms[first]
    crops = isinstance(cut, _CROPS) or getattr(cut, "reads_only", False)
    if first is not None and crops:
        transforms = list(composed.transforms)
        composed = copy(composed)
        composed.transforms = (*transforms[: first + 1], _OwnMemory(), *transforms[first + 1 :])
    if cache_dir:
        return DiskCacheDataset(data, composed, cache_dir)
    if cache == Cache.NONE:
        return Dataset(data, composed)
    return CacheDataset(
        data,
        composed,
        hash_as_key=True,
        num_workers=None,
        progress=len(data) > 1 and shows_bars(),
        copy_cache=not crops,
    )


class _OwnMemory(Transform):
    """Give a crop memory of its own, so that what follows may write into it and the volume it came from can go."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            key: value.clone() if isinstance(value, torch.Tensor) else deepcopy(value) for key, value in data.items()
        }
