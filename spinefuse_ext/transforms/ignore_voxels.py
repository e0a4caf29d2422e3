"""Leave out of a score what nobody has labelled."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.validation import check_whole_or_none


class IgnoreVoxelsd(MapTransform):
    """Make prediction and truth background wherever the truth is unknown, so that no foreground score counts it.

    Args:
        keys: predictions, probabilities of the classes ``(K, *S)``; those that are absent are passed over.
        ignore_index: label value of voxels whose truth is unknown; None changes nothing.
        label_key: the truth, class numbers ``(1, *S)``.
    """

    def __init__(self, keys: KeysCollection, ignore_index: int | None = None, label_key: str = CaseKeys.LABEL) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.ignore_index = check_whole_or_none("ignore_index", ignore_index)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        if self.ignore_index is None or self.label_key not in item:
            return item
        unknown = item[self.label_key] == self.ignore_index
        item[self.label_key] = item[self.label_key].masked_fill(unknown, 0)
        for key in self.key_iterator(item):
            background = torch.zeros_like(item[key])
            background[0] = 1
            item[key] = torch.where(unknown.to(item[key].device), background, item[key])
        return item
