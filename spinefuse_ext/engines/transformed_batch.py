"""Augmentation of whole batches on the device, between the data loader and the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.utils import CommonKeys, convert_to_tensor

Batch = Mapping[str, Any]


class PrepareTransformed(PrepareBatch):
    """Move image and label to the device and put them through a transform of batches there.

    On a GPU one call changes all images of a batch, so that a single process keeps the GPU busy; on a CPU it saves the
    bookkeeping of each image. Transforms that draw are seeded by
    :class:`~spinefuse_ext.handlers.EpochSeedHandler`, so a resumed training sees the same images.

    Args:
        transform: of a dictionary with ``image`` ``(B, C, *S)`` and ``label`` ``(B, 1, *S)``, such as MONAI's
            ``Compose`` of the transforms in ``spinefuse_ext.synthesis``.
        unlabelled: the same for batches without a label; None leaves them as they are.
    """

    def __init__(self, transform: Callable[[Batch], Batch], unlabelled: Callable[[Batch], Batch] | None = None) -> None:
        self.transform, self.unlabelled = transform, unlabelled

    def __call__(
        self,
        batchdata: Batch,
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return image and label; the label is None for an unlabelled batch."""
        held = (CommonKeys.IMAGE, CommonKeys.LABEL)
        plain = {key: convert_to_tensor(batchdata[key], track_meta=False) for key in held if key in batchdata}
        moved: dict[str, Any] = {key: value.to(device, non_blocking=non_blocking) for key, value in plain.items()}
        transform = self.transform if CommonKeys.LABEL in moved else self.unlabelled
        changed = moved if transform is None else transform(moved)
        image = changed[CommonKeys.IMAGE]
        return image.to(**kwargs) if kwargs else image, changed.get(CommonKeys.LABEL)
