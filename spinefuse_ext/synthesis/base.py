"""A random transform of a whole batch of images and labels, on the device they lie on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Randomizable
from monai.utils import CommonKeys, convert_to_tensor

from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.validation import ConfigError

_MOST = 2**31 - 1


class BatchTransform(Randomizable):
    """Change ``image`` ``(B, C, *S)`` and ``label`` ``(B, 1, *S)`` of a dictionary, each image in its own way.

    It is a dictionary transform as MONAI's are, except that it works on a batch: between a data loader and the network
    (:class:`~spinefuse_ext.engines.PrepareTransformed`), where the images lie on the GPU already and one call serves
    all of them. With ``batched`` off it takes one image ``(C, *S)``, so that it can stand in a ``Compose`` too. Other
    entries pass. Without a label the image is changed alone.

    Args:
        batched: whether the first axis is the batch.
    """

    def __init__(self, batched: bool = True) -> None:
        self.batched = batched

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with a new image and label; the given tensors are not written into."""
        image, label = (
            None if data.get(key) is None else convert_to_tensor(data[key], track_meta=False)
            for key in (CommonKeys.IMAGE, CommonKeys.LABEL)
        )
        if image is None:
            raise ConfigError(f"Expected an entry '{CommonKeys.IMAGE}' to change, got {', '.join(map(str, data))}.")
        if not self.batched:
            image, label = image[None], None if label is None else label[None]
        draws = Draws(int(self.R.randint(_MOST)), image)
        with torch.no_grad():
            image, label = self.change(image, label, draws)
        if not self.batched:
            image, label = image[0], None if label is None else label[0]
        changed = {**data, CommonKeys.IMAGE: image}
        return changed if label is None else {**changed, CommonKeys.LABEL: label}

    @abstractmethod
    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)`` and ``(B, 1, *S)`` -> the changed ones."""
