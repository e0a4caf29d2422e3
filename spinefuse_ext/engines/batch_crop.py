"""Crops of another size for each batch, for a network that normalises over the whole image and may get any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import Randomizable, SpatialCrop
from monai.transforms.utils import correct_crop_centers
from monai.utils import get_seed

from spinefuse_ext.engines.step import plain
from spinefuse_ext.validation import ConfigError, check_numbers, check_whole_or_none


class RandomBatchCrop(Randomizable):
    """Cut all images of a batch ``(B, C, *S)`` to one size, drawn anew for each batch, to ``(B, C, *size)``.

    Each crop holds a voxel whose first channel is not 0, if the image has one; which, is drawn for each image. With one
    size, that of the images, they stay as they are and nothing is drawn. The draws come from a generator of this
    object, so every rank of a distributed training draws the same sizes, and none waits for a larger batch.

    Args:
        sizes: to choose from with equal chance, each one number per spatial axis.
        seed: of the draws; ``None`` takes the seed of ``monai.utils.set_determinism``.
    """

    def __init__(self, sizes: Sequence[Sequence[int]], seed: int | None = None) -> None:
        if not isinstance(sizes, Sequence) or isinstance(sizes, str) or not sizes:
            raise ConfigError(f"The setting sizes is a list of at least one size, got {sizes!r}.")
        self.sizes = [check_numbers("sizes", size, least=1, whole=True) for size in sizes]
        check_whole_or_none("seed", seed)
        self.set_random_state(get_seed() if seed is None else seed)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        size = self.sizes[self.R.randint(len(self.sizes)) if len(self.sizes) > 1 else 0]
        if tuple(images.shape[2:]) == size:
            return images
        return torch.stack([self._cropped(image, size) for image in plain(images)])

    def _cropped(self, image: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """One image ``(C, *S)`` to ``(C, *size)``, about a voxel of the foreground as far as the border allows."""
        places = image[0].nonzero()
        if not len(places):
            places = torch.ones_like(image[0]).nonzero()
        place = places[self.R.randint(len(places))].tolist()
        centre = correct_crop_centers(place, size, image.shape[1:])
        kept = (slice(None), *SpatialCrop.compute_slices(centre, size))
        return image[kept]
