"""The labels of a training or an evaluation, looked at before it begins."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor

from spinefuse_ext.enums import MODALITIES, CaseKeys, series_key
from spinefuse_ext.formats import header_of
from spinefuse_ext.images.kind import is_dicom
from spinefuse_ext.images.nifti import stored_grid
from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.volumes.read_label import label_for, present_values
from spinefuse_ext.volumes.volume import read_volume

logger = logging.getLogger(__name__)


def check_labels(
    data: Sequence[Mapping[str, Any]],
    image_keys: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    relabel: Mapping[str | int, str | int] | None = None,
    ignore_index: int | None = None,
    learn: bool = True,
) -> list[str]:
    """Read every label of some items as ``ReadLabeld`` will, and return what is odd, a sentence each; it is logged.

    Used in JSON among ``initialize``, so that a label that cannot be used is told before hours of work, by its file.
    A label without a labelled voxel is said, and a class that no case has: a network cannot learn it.

    Args:
        data: items with paths, as ``load_datalist`` gives them; those without a label or an image are passed over, and
            one that comes several times is read once.
        image_keys: the first is the image that a label was drawn on.
        labels: names of the classes, background first.
        relabel: as for ``ReadLabeld``.
        ignore_index: as for ``ReadLabeld``.
        learn: whether a network is to learn from these cases; else it is scored by them.

    Raises:
        SpinefuseError: the first label that cannot be used.
    """
    scheme = LabelScheme.of(labels, relabel, ignore_index)
    key = str(image_keys[0])
    pairs = {pair: item.get(CaseKeys.LABEL_NAMES) for item in data if (pair := _pair(item, key)) is not None}
    counts: Counter[int] = Counter()
    empty = []
    for pair, names in pairs.items():
        placed, _ = label_for(pair.label, _grid(pair, key), scheme, names=names)
        present = set(present_values(placed.numpy(), pair.label)) - {0}
        counts.update(present)
        if not present:
            empty.append(f"{pair.label} holds no labelled voxel")
    told = [*empty, *(_absent(counts, scheme, learn) if pairs else ())]
    for sentence in told:
        logger.warning("%s", sentence)
    return told


def _absent(counts: Mapping[int, int], scheme: LabelScheme, learn: bool) -> list[str]:
    names = [name for number, name in scheme.labels.items() if number != 0 and not counts.get(number)]
    if not names:
        return []
    told = f"No label of these cases holds {' or '.join(names)}"
    return [f"{told}: the network cannot learn it." if learn else f"{told}: it is not in the truth, and is not scored."]


class _Pair(NamedTuple):
    """Paths of an image and its label, and which series of a DICOM folder the image is."""

    image: str
    label: str
    series: str | int | None


def _pair(item: Mapping[str, Any], key: str) -> _Pair | None:
    """Paths of image and label of an item that has both; what a server gives under ``image`` counts as the image."""
    image, label = item.get(key) or item.get(CaseKeys.IMAGE), item.get(CaseKeys.LABEL)
    if not isinstance(image, (str, Path)) or not isinstance(label, (str, Path)):
        return None
    return _Pair(str(image), str(label), item.get(series_key(key)))


def _grid(pair: _Pair, key: str) -> MetaTensor:
    """A volume with the grid of an image and no values of its own; of NIfTI only the header is read."""
    path = pair.image
    grid = stored_grid(header_of(Path(path))) if Path(path).is_file() else None
    if grid is not None:
        return _empty(*grid, path)
    volume = read_volume(path, MODALITIES.get(key) if is_dicom(path) else None, pair.series)
    return _empty(tuple(volume.shape[1:]), volume.affine.numpy(), path)


def _empty(shape: tuple[int, ...], affine: np.ndarray[Any, Any], path: str) -> MetaTensor:
    values = torch.zeros(1).expand(1, *shape)
    return MetaTensor(values, affine=torch.as_tensor(affine, dtype=torch.float64), meta={"filename_or_obj": path})
