"""The scaling of CT, MR and fused images to [0, 1], the same wherever an image enters."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from numpy.typing import NDArray

from spinefuse_ext.enums import MODALITIES
from spinefuse_ext.hounsfield import is_shifted
from spinefuse_ext.transforms.body import body_mask
from spinefuse_ext.validation import ConfigError, check_interval

logger = logging.getLogger(__name__)

_CT = "CT"
_AIR_HU = (-1100.0, -900.0)
_NO_HU = (-1500.0, -1100.0)  # between air and the values that pad a CT
_SOME = 0.001  # of the voxels that must be air for values to be HU
_FEW = 0.1  # of them that may be below air
_FAT_HU = -50.0
_FAT = 0.01  # of the voxels above air that a CT has below water


class ScaleByModalityd(MapTransform):
    """Scale images ``(C, *S)`` to [0, 1]: a CT by a window in HU, any other by percentiles inside the body.

    An image is a CT when its key is ``ct``; under another key than ``ct`` and ``mr``, when its DICOM modality
    (``meta["modality"]``) is CT, or, where it has none, when its values are HU with air: at least 0.1 % of the voxels
    lie from -1100 to -900, and not a tenth of them from -1500 to -1100. What the values decide is logged,
    with a warning where they speak for the other too: air but no fat, or a CT that lies 1024 too high.

    - CT: ``(v - low) / (high - low)``, clipped to [0, 1], with ``low, high = ct_window_hu``.
    - Others: the same with the ``percentiles`` of the voxels of :func:`~spinefuse_ext.transforms.body.body_mask`,
      linearly interpolated, each channel by itself. Where both percentiles are one value, ``low`` is the lowest value
      of the image; a constant image becomes 0.

    So the result depends neither on padding nor on how much air is around. Put it right behind ``ReadVolumed``:
    resampling to another image gives an image that one's meta, and pads with 0, which is air after the scaling only.

    Args:
        keys: of the images.
        ct_window_hu: HU that become 0 and 1.
        percentiles: inside the body that become 0 and 1, in percent.
        allow_missing_keys: pass over keys that a case does not have.

    Raises:
        ConfigError: a window or percentiles that are not a lower and a higher number, percentiles not in [0, 100].
    """

    def __init__(
        self,
        keys: KeysCollection,
        ct_window_hu: Sequence[float] = (-200.0, 1000.0),
        percentiles: Sequence[float] = (1.0, 99.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.ct_window_hu = check_interval("ct_window_hu", ct_window_hu)
        self.percentiles = check_interval("percentiles", percentiles)
        if self.percentiles[0] < 0 or self.percentiles[1] > 100:
            raise ConfigError(f"The setting percentiles needs numbers from 0 to 100, got {list(percentiles)}.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image: torch.Tensor = d[key].float()
            limits = torch.tensor(self._limits(image, str(key)), dtype=image.dtype, device=image.device)
            low, high = (end.view(-1, *[1] * (image.ndim - 1)) for end in limits.unbind(1))
            d[key] = ((image - low) / (high - low)).clamp(0, 1)
        return d

    def _limits(self, image: torch.Tensor, key: str) -> list[tuple[float, float]]:
        """What becomes 0 and 1, for each channel."""
        if is_ct(image, key):
            return [self.ct_window_hu] * len(image)
        return [body_limits(channel, self.percentiles) for channel in _numpy(image)]


def is_ct(image: torch.Tensor, key: str) -> bool:
    """Whether ``image`` ``(C, *S)`` under ``key`` is a CT in HU, by the rule of ``ScaleByModalityd``."""
    if key in MODALITIES:
        return MODALITIES[key] == _CT
    meta = image.meta if isinstance(image, MetaTensor) else {}
    if meta.get("modality"):
        return bool(meta["modality"] == _CT)
    name, values = meta.get(ImageMetaKey.FILENAME_OR_OBJ, key), _numpy(image)
    if holds_hounsfield(values):
        _tell_ct(values, name)
        return True
    if is_shifted(values):
        logger.warning(
            "%s looks like a CT whose values lie 1024 too high (intercept missing), and is not taken as one; if it is, "
            "give it the image key ct, which shifts it to HU.",
            name,
        )
    if values.min() < _FAT_HU:
        logger.warning(
            "%s has values down to %g but no air at -1000, so it is not taken as a CT; if it is one, give it the image "
            "key ct.",
            *(name, values.min()),
        )
    return False


def _tell_ct(values: NDArray[np.float32], name: object) -> None:
    """Log why an image is taken as a CT; where hardly a value lies between air and water, that may be padding."""
    inside = values[values >= _AIR_HU[1]]
    level, doubt = logging.INFO, ""
    if inside.size and (inside < 0).mean() < _FAT:
        level, doubt = logging.WARNING, " But it has no fat, so this may be padding; give an MR the image key mr."
    logger.log(level, "%s has air at -1000, so it is taken as a CT in HU and scaled by ct_window_hu.%s", *(name, doubt))


def holds_hounsfield(values: NDArray[np.float32]) -> bool:
    """Whether ``values``, any shape, are HU of a CT that has air in or around the patient, or is padded with it."""
    air, below = (float(((values >= low) & (values < high)).mean()) for low, high in (_AIR_HU, _NO_HU))
    return air >= _SOME and below <= _FEW * air


def body_limits(image: NDArray[np.float32], percentiles: Sequence[float]) -> tuple[float, float]:
    """Return the two ``percentiles`` of ``image`` ``(*S)`` inside the body; (0, inf) of a constant one."""
    body = image[body_mask(image)]
    if not body.size:
        return 0.0, float("inf")
    low, high = (float(value) for value in np.percentile(body, list(percentiles)))
    return (low, high) if high > low else (float(image.min()), high)


def _numpy(image: torch.Tensor) -> NDArray[np.float32]:
    tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
    return tensor.detach().cpu().float().numpy()
