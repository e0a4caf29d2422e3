"""Preprocessed cases in files: memory does not grow with the cohort, and a crop reads only the part that it shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from enum import EnumMeta
from pathlib import Path
from pickle import PicklingError, Unpickler, UnpicklingError
from types import SimpleNamespace
from typing import Any

import monai
import numpy as np
import torch
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, Transform

import spinefuse_ext
from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.files import atomic_write
from spinefuse_ext.images.image_files import image_files
from spinefuse_ext.label_files.label_names import name_files
from spinefuse_ext.safe_load import RunsCodeError, load_plain
from spinefuse_ext.validation import ConfigError, OutputError

logger = logging.getLogger(__name__)

#: What torch.load raises for a file that is missing, not whole, or holds what is refused.
_NOT_WHOLE = (AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, UnpicklingError, ValueError)
#: What tensors, MONAI's metadata and the arrays in them are built with.
_BUILDERS = {
    *("_codecs.encode", "collections.OrderedDict", "monai.data.meta_tensor.MetaTensor"),
    *("torch.Size", "torch._tensor._rebuild_from_type_v2", "torch._utils._rebuild_tensor_v2"),
    *(f"numpy.{name}" for name in ("dtype", "ndarray", "core.multiarray._reconstruct", "core.multiarray.scalar")),
    *(f"numpy._core.multiarray.{name}" for name in ("_reconstruct", "scalar")),
}


class DiskCacheDataset(PersistentDataset):
    """MONAI's persistent dataset, with files that can be trusted.

    A file's name is a hash of the item, of size and time of change of every file that the item names (of DICOM, of
    every file in its folder; of a label also of the tables that name its values), of the transforms before the first
    random one with their settings, and of the versions of MONAI and this package. So a changed image or setting is
    loaded anew, and trainings may share a folder. Code of a transform of your own that changed cannot be seen: delete
    the folder then. Files that no longer fit are left.

    Files are written whole under a temporary name and renamed, so several processes may fill one folder. One that is
    torn all the same is loaded anew. Entries are read as memory maps, and keep the metadata that an inversion needs.

    Raises:
        ConfigError: the folder cannot be used, or a transform cannot be pickled and so has no name.
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Compose, cache_dir: str | Path) -> None:
        try:
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cache_dir {cache_dir} cannot be made ({error}); choose another folder.") from error
        super().__init__(data, transform, cache_dir, hash_transform=_hash_transforms)
        self._folder = Path(cache_dir)

    def set_data(self, data: Sequence[dict[str, Any]]) -> None:
        """Take other items. Files of the earlier ones stay, for other trainings may use them."""
        self.data = data

    def _cachecheck(self, item_transformed: dict[str, Any]) -> dict[str, Any]:
        named = [value for name, value in item_transformed.items() if name != CaseKeys.PATIENT]
        label = item_transformed.get(CaseKeys.LABEL)
        named += name_files(Path(label)) if isinstance(label, (str, Path)) else []
        key = pickle_hashing([item_transformed, sorted(_stamps(named)), self.transform_hash]).decode()
        path = self._folder / f"{key}.pt"
        entry = _read(path)
        if entry is None:
            entry = super()._pre_transform(deepcopy(item_transformed))  # type: ignore[no-untyped-call]
            _write({name: _compact(value) for name, value in entry.items()}, path)
            entry = _read(path)
        if entry is None:
            raise ConfigError(
                f"The cached case {path} cannot be read back: a transform puts more than tensors, arrays, numbers and "
                "text into a case; choose the cache 'memory' or 'none'."
            )
        return entry


def _hash_transforms(transforms: list[Transform]) -> bytes:
    try:
        return pickle_hashing([monai.__version__, spinefuse_ext.__version__, transforms])
    except (AttributeError, PicklingError, TypeError) as error:
        raise ConfigError(
            f"The cache 'disk' cannot tell when the transforms change, for one cannot be pickled ({error}); use no "
            "lambda in them, or choose the cache 'memory'."
        ) from error


def _stamps(value: Any) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of change of each file that an item names."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _stamps(entry)
    elif isinstance(value, (str, Path)):
        for path in _files(Path(value)):
            found = path.stat()
            yield str(path), found.st_size, found.st_mtime_ns


def _files(path: Path) -> list[Path]:
    try:
        return image_files(path)[1] if path.exists() else []
    except (OSError, ValueError):  # too long for a name, or with a zero byte: text that is no path
        return []


def _compact(value: Any) -> Any:
    """An array as a tensor, a tensor without the larger storage that it may be a part of."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.numel() * value.element_size()
        return value if whole else value.clone(memory_format=torch.contiguous_format)
    return value


class _Unpickler(Unpickler):
    """Builds tensors, arrays and metadata, and nothing else; torch's own way to do so takes several times as long."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in _BUILDERS:
            return super().find_class(module, name)
        if module in ("monai.utils.enums", "torch") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, (EnumMeta, torch.dtype)):
                return found
        raise UnpicklingError(f"{module}.{name} has no place in a cached case.")


def _read(path: Path) -> dict[str, Any] | None:
    """The entry of a file, or None when there is no whole one."""
    try:
        reader = SimpleNamespace(Unpickler=_Unpickler, __name__="pickle")
        entry: dict[str, Any] = load_plain(path, None, reader=reader, mmap=True)
        return entry
    except RunsCodeError as error:
        logger.warning(f"{error} It was not run, and the case is prepared anew.")
        return None
    except _NOT_WHOLE:
        return None


def _write(entry: dict[str, Any], path: Path) -> None:
    try:
        with atomic_write(path) as temporary:
            torch.save(entry, temporary)
    except (OSError, OutputError, RuntimeError) as error:  # torch says RuntimeError when the disk is full
        raise ConfigError(
            f"The cached case {path} cannot be written ({error}); free space, give another cache_dir or choose the "
            "cache 'none'."
        ) from error
