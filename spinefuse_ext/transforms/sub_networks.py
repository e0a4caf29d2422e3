"""Take the probabilities of two sub-networks apart: the prediction that counts, each one's own, where they differ."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import nn

from spinefuse_ext.enums import SubNetwork
from spinefuse_ext.validation import ConfigError, check_number

#: Key of the disagreement map.
DISAGREEMENT = "disagreement"
_MEMBERS = (SubNetwork.UNET, SubNetwork.VNET)


class SplitSubNetworksd(MapTransform):
    """Turn the probabilities of a pair, ``(2 K, *S)``, into the chosen one, ``(K, *S)``, under the same key.

    Beside it stand the labels ``(1, *S)`` of each sub-network, ``<key>_unet`` and ``<key>_vnet``, and
    ``disagreement`` ``(1, *S)``: 1 where they differ, else 0, uint8. What one network gave, ``(K, *S)``, stays as it
    is and gets nothing beside it.

    Args:
        keys: of probabilities, on the grid where the labels shall be compared.
        network: the pair; its ``output`` (``mean``, ``unet`` or ``vnet``) says whose probability is kept.
        num_classes: K.
        allow_missing_keys: do nothing for a case without the key.

    Raises:
        ConfigError: from a call, when there are neither K nor 2 K channels.
    """

    def __init__(
        self, keys: KeysCollection, network: nn.Module, num_classes: int, *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output = str(getattr(network, "output", SubNetwork.MEAN))
        self.num_classes = check_number("num_classes", num_classes, least=2, whole=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            both: torch.Tensor = d[key]
            if both.shape[0] == self.num_classes:
                continue
            if both.shape[0] != 2 * self.num_classes:
                raise ConfigError(
                    f"Expected {self.num_classes} classes of 1 or 2 networks, got {both.shape[0]} channels."
                )
            first, second = both[: self.num_classes], both[self.num_classes :]
            alone = {str(SubNetwork.UNET): first, str(SubNetwork.VNET): second}
            d[key] = alone[self.output] if self.output in alone else (first + second) / 2
            labels = [probability.argmax(dim=0, keepdim=True) for probability in (first, second)]
            d |= {f"{key}_{name}": label for name, label in zip(_MEMBERS, labels, strict=True)}
            d[DISAGREEMENT] = (labels[0] != labels[1]).to(torch.uint8)
        return d
