"""Random patches of a case, cut out of its cached volumes as plain tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.transforms.utils import correct_crop_centers
from monai.utils import ImageMetaKey

from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.validation import ConfigError, DatalistError, check_number, check_numbers


class RandPatchd(RandomizableTransform, MapTransform):
    """Cut one patch about a random voxel out of ``keys`` ``(C, *S)``, in the same place of each.

    As ``monai.transforms.RandCropByPosNegLabeld`` with ``num_samples`` 1 it centres the patch on a voxel of the
    foreground with the probability ``pos / (pos + neg)``, else of the background, as far as the border allows; where
    one of them is empty, on the other. Unlike it, it gives plain tensors without metadata, a view of the volume each,
    so that a patch costs a draw and an index: what else is random is done to whole batches later. Under ``patient`` it
    tells the file that the first image came from, if that is known and nothing is told there yet.

    Args:
        keys: images to cut; all have one size.
        size: of the patch, ``len(S)`` numbers.
        indices: entry with the places of the foreground, as ``monai.transforms.FgBgToIndicesd`` writes it (numbers of
            the flattened volume).
        background_indices: entry with those of the background. Both entries are dropped.
        pos: weight of the foreground.
        neg: weight of the background.
        squeeze_axis: spatial axis, on which the patch is one voxel long, to leave out of the result; None keeps all.
        allow_missing_keys: pass over keys that a case lacks.

    Raises:
        ConfigError: a weight below 0, or none above; or a ``squeeze_axis`` along which ``size`` is not 1.
        DatalistError: while running, when a case has neither foreground nor background.
    """

    reads_only = True  # make_dataset need not copy the cached case before

    def __init__(  # noqa: PLR0913 (what MONAI's transform takes)
        self,
        keys: KeysCollection,
        size: Sequence[int],
        indices: str,
        background_indices: str,
        pos: float = 1.0,
        neg: float = 1.0,
        squeeze_axis: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self)
        size = check_numbers("size", size, least=1, whole=True)
        if check_number("pos", pos, least=0) + check_number("neg", neg, least=0) == 0:
            raise ConfigError(f"Expected pos and neg of at least 0, one of them above, got {pos} and {neg}.")
        if squeeze_axis is not None:
            check_number("squeeze_axis", squeeze_axis, least=0, below=len(size), whole=True)
        if squeeze_axis is not None and size[squeeze_axis] != 1:
            raise ConfigError(
                f"Expected patches of one voxel along axis {squeeze_axis}, which is left out, got {list(size)}."
            )
        self.size, self.squeeze_axis = size, squeeze_axis
        self.places = (indices, background_indices)
        self.foreground = pos / (pos + neg)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with patches ``(C, *size)`` in place of the volumes, without the places."""
        case = {key: value for key, value in data.items() if key not in self.places}
        present = list(self.key_iterator(case))
        image = case[present[0]]
        name = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else None
        if name is not None:
            case.setdefault(CaseKeys.PATIENT, str(name))
        window = self._window(data, tuple(image.shape[1:]), name)
        for key in present:
            volume = case[key]
            patch = (volume.as_tensor() if isinstance(volume, MetaTensor) else torch.as_tensor(volume))[window]
            case[key] = patch if self.squeeze_axis is None else patch.squeeze(self.squeeze_axis + 1)
        return case

    def _window(self, data: Mapping[Hashable, Any], shape: tuple[int, ...], name: Any) -> tuple[slice, ...]:
        """Draw where to cut."""
        kinds = [data[key] for key in self.places]
        wanted = 0 if self.R.rand() < self.foreground else 1
        places = kinds[wanted] if len(kinds[wanted]) else kinds[1 - wanted]
        if not len(places):
            raise DatalistError(
                f"Expected voxels to cut patches about, got none in {name or 'a case'}; check its image and label."
            )
        centre = [int(place) for place in np.unravel_index(int(places[self.R.randint(len(places))]), shape)]
        kept = zip(correct_crop_centers(centre, self.size, shape), self.size, strict=True)
        return (slice(None), *(slice(middle - side // 2, middle - side // 2 + side) for middle, side in kept))
