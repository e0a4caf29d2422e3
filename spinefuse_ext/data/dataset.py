"""Choice of the cache that stands between volumes on disk and the random crops of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, Dataset, PersistentDataset


def make_dataset(
    data: Sequence[dict[str, Any]], transform: Callable[..., Any], cache_dir: str | Path | None = None
) -> Dataset:
    """Cache what the transforms before the first random one give: in memory, or in files when ``cache_dir`` is given.

    A case that ``data`` repeats, for several crops of it per epoch, is loaded and kept once.
    """
    if cache_dir:
        return PersistentDataset(data, transform, cache_dir=Path(cache_dir))
    return CacheDataset(data, transform, hash_as_key=True, num_workers=None, progress=len(data) > 1)
