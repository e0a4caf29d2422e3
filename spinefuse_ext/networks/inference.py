"""How a network sees a whole volume: slice by slice in 2-D, through a sliding window in 3-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer

from spinefuse_ext.validation import check_spatial_dims


class AutocastInferer(Inferer):
    """Another inferer whose network runs in the device's own mixed precision; windows are blended in float32.

    MONAI's evaluators know mixed precision on CUDA alone.

    Args:
        inferer: cuts the windows and blends them.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> what the network makes of it, float32."""

        def half(window: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
            with torch.autocast(window.device.type):
                return network(window, *more, **options).float()

        result: torch.Tensor = self.inferer(inputs, half, *args, **kwargs)
        return result


def window_inferer(
    spatial_dims: int, roi_size: Sequence[int], slice_axis: int, *, amp: bool = False, **options: Any
) -> Inferer:
    """Return MONAI's inferer for volumes ``(B, C, X, Y, Z)``.

    A 2-D network sees one slice across ``slice_axis`` after the other; a slice smaller than ``roi_size`` (pixels) is
    padded around its centre and cut back, a larger one is covered by overlapping windows. A 3-D network sees windows
    of ``roi_size`` voxels. Memory is bounded by ``sw_batch_size`` windows and the result.

    Args:
        spatial_dims: 2 or 3, the network's.
        roi_size: ``spatial_dims`` numbers.
        slice_axis: 0 sagittal, 1 coronal, 2 axial for volumes in RAS; used in 2-D only.
        amp: run the network in mixed precision, the device's own type, bfloat16 on a CPU.
        options: of MONAI's ``SlidingWindowInferer``, such as ``sw_batch_size`` and ``overlap``.
    """
    check_spatial_dims(spatial_dims)
    inferer: Inferer
    if spatial_dims == 2:
        inferer = SliceInferer(spatial_dim=slice_axis, roi_size=tuple(roi_size), **options)
    else:
        inferer = SlidingWindowInferer(roi_size=tuple(roi_size), **options)
    return AutocastInferer(inferer) if amp else inferer
