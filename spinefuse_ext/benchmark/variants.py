"""Other images of the same patient: coarser, finer, turned, cut or noisy, with their truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Flip, GaussianSmooth, RandGaussianNoise, Rotate, Spacing, SpatialCrop, Transform

from spinefuse_ext.report.views import turn_to_ras
from spinefuse_ext.validation import ConfigError

#: An image ``(1, X, Y, Z)`` and its truths ``(1, X, Y, Z)`` by name, all on one grid.
Volumes = tuple[MetaTensor, dict[str, MetaTensor]]
_Maker = Callable[[MetaTensor, dict[str, MetaTensor]], Volumes]

NATIVE = "native"
#: Measured unless something else is asked for.
DEFAULT = (NATIVE, "pixel_0.5", "pixel_2")
_PIXELS_MM = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_AXES = {"left_right": 0, "front_back": 1, "head_feet": 2}
_ANGLE_DEG = 15.0
_NOISE = 0.05
_FWHM_SD = math.sqrt(8 * math.log(2))  # full width at half maximum of a Gaussian of SD 1


def varied(name: str, image: MetaTensor, truths: Mapping[str, MetaTensor]) -> Volumes:
    """The variant ``name`` of an image ``(1, X, Y, Z)`` and of its truths, turned to RAS first; they stay on one grid.

    - ``pixel_P``: P mm in the sagittal plane, slices as they are; linear, smoothed first where coarser, truth nearest.
    - ``flip_AXIS``: voxels in the other order along ``left_right``, ``front_back`` or ``head_feet``, with the affine
      that says so: the same image stored otherwise.
    - ``mirror_AXIS``: the same voxels with the affine of before: an image whose file lies about its orientation.
    - ``rotated``: voxels turned by 15 degrees in the sagittal plane, as a patient who lies so; size kept.
    - ``cropped``: the middle half of the height.
    - ``noisy``: Gaussian noise, SD 5 % of the range from the 1st to the 99th percentile, seed 0.
    """
    turned = turn_to_ras(image)
    return VARIANTS[name](turned, {key: turn_to_ras(truth) for key, truth in truths.items()})


def chosen_variants(names: Sequence[str] | str | None) -> list[str]:
    """The variants that are measured: ``DEFAULT`` for None, every one for ``all``.

    Raises:
        ConfigError: an unknown name.
    """
    if names is None:
        return list(DEFAULT)
    listed = [names] if isinstance(names, str) else list(names)
    if listed == ["all"]:
        return list(VARIANTS)
    unknown = [name for name in listed if name not in VARIANTS]
    if unknown or not listed:
        raise ConfigError(
            f"There is no variant {', '.join(unknown) or 'named'}; choose from {', '.join(VARIANTS)}, or all."
        )
    return listed


def _native(image: MetaTensor, truths: dict[str, MetaTensor]) -> Volumes:
    return image, truths


def _pixel(size_mm: float) -> _Maker:
    def resample(image: MetaTensor, truths: dict[str, MetaTensor]) -> Volumes:
        spacing = affine_to_spacing(image.affine).tolist()
        target = (spacing[0], size_mm, size_mm)
        # what a wider pixel averages: the SD in voxels by which a Gaussian of one pixel's width becomes one of the new
        wider = [math.sqrt(max((new / old) ** 2 - 1, 0)) for old, new in zip(spacing, target, strict=True)]
        if any(wider):
            image = _made(GaussianSmooth(sigma=[max(one / _FWHM_SD, 1e-3) for one in wider]), image)
        image = _made(Spacing(pixdim=target, mode="bilinear"), image)
        return image, _all_made(Spacing(pixdim=target, mode="nearest"), truths)

    return resample


def _flip(axis: int, *, truthful: bool) -> _Maker:
    def flip(image: MetaTensor, truths: dict[str, MetaTensor]) -> Volumes:
        turned = _made(Flip(axis), image)
        others = _all_made(Flip(axis), truths)
        if not truthful:
            for volume in (turned, *others.values()):
                volume.affine = image.affine
        return turned, others

    return flip


def _rotate(image: MetaTensor, truths: dict[str, MetaTensor]) -> Volumes:
    options: dict[str, Any] = {"angle": (math.radians(_ANGLE_DEG), 0.0, 0.0), "padding_mode": "zeros"}
    lowest = float(image.min())
    # outside is what an image has least, so that a CT gets air and no water
    turned = _made(Rotate(mode="bilinear", **options), cast(MetaTensor, image - lowest))
    return cast(MetaTensor, turned + lowest), _all_made(Rotate(mode="nearest", **options), truths)


def _crop(image: MetaTensor, truths: dict[str, MetaTensor]) -> Volumes:
    size = list(image.shape[1:])
    cut = SpatialCrop(roi_center=[length // 2 for length in size], roi_size=[*size[:2], max(size[2] // 2, 1)])
    return _made(cut, image), _all_made(cut, truths)


def _noise(image: MetaTensor, truths: dict[str, MetaTensor]) -> Volumes:
    low, high = np.percentile(image.as_tensor().numpy(), [1, 99])
    add = RandGaussianNoise(prob=1.0, std=float(_NOISE * (high - low)), sample_std=False)
    add.set_random_state(seed=0)
    return _made(add, image), truths


def _made(transform: Transform, volume: MetaTensor) -> MetaTensor:
    return cast(MetaTensor, transform(volume))


def _all_made(transform: Transform, volumes: Mapping[str, MetaTensor]) -> dict[str, MetaTensor]:
    return {name: _made(transform, volume) for name, volume in volumes.items()}


VARIANTS: dict[str, _Maker] = {
    NATIVE: _native,
    **{f"pixel_{size:g}": _pixel(size) for size in _PIXELS_MM},
    **{f"flip_{name}": _flip(axis, truthful=True) for name, axis in _AXES.items()},
    **{f"mirror_{name}": _flip(axis, truthful=False) for name, axis in _AXES.items()},
    "rotated": _rotate,
    "cropped": _crop,
    "noisy": _noise,
}
