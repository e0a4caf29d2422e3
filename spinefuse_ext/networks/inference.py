"""How a network sees a whole volume: slice by slice in 2-D, through a sliding window in 3-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer

from spinefuse_ext.networks.counted_inferer import CountedInferer
from spinefuse_ext.networks.plane_inferer import PlanesInferer
from spinefuse_ext.validation import ConfigError, check_spatial_dims


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


class FittedInferer(Inferer):
    """Windows that take in the whole image where it is not too large.

    A segmentation network that sees what surrounds the spine does not take the hip for a vertebra, so a slice of
    200 x 340 pixels is seen as 208 x 352, not in windows of 144 x 192. An image smaller than ``smallest`` is padded to
    it, as the images of the training were: what a network makes of an image depends on the empty margin around it.
    With ``smallest`` and ``multiple`` 1 nothing is padded, so there is no margin that a result could depend on.

    Args:
        make: returns the inferer with windows of the given size.
        smallest: size of a window at least, one number for each axis that windows have.
        largest: its size at most.
        multiple: what the sides in between are multiples of: the factor by which the network lowers the resolution.
        slice_axis: axis of the volume that windows do not have, None for windows with all axes.

    Raises:
        ConfigError: when ``multiple`` is below 1, or ``largest`` below ``smallest``.
    """

    def __init__(
        self,
        make: Callable[[tuple[int, ...]], Inferer],
        smallest: Sequence[int],
        largest: Sequence[int],
        multiple: int,
        slice_axis: int | None = None,
    ) -> None:
        super().__init__()
        if multiple < 1:
            raise ConfigError(f"The sides of a window are multiples of 1 or more, got {multiple}.")
        if any(most < least for least, most in zip(smallest, largest, strict=True)):
            raise ConfigError(f"A window of at least {list(smallest)} cannot have {list(largest)} at most.")
        self.make, self.smallest, self.largest = make, tuple(smallest), tuple(largest)
        self.multiple, self.slice_axis = multiple, slice_axis

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Image ``(B, C, *S)`` -> what the network makes of it."""
        sides = [side for axis, side in enumerate(inputs.shape[2:]) if axis != self.slice_axis]
        fitting = [-(-side // self.multiple) * self.multiple for side in sides]
        limits = zip(self.smallest, fitting, self.largest, strict=True)
        size = tuple(min(max(least, side), most) for least, side, most in limits)
        result: torch.Tensor = self.make(size)(inputs, network, *args, **kwargs)
        return result


def window_inferer(
    spatial_dims: int,
    roi_size: Sequence[int],
    slice_axis: int,
    *,
    amp: bool = False,
    largest: Sequence[int] | None = None,
    multiple: int = 16,
    planes: str | Sequence[str] | None = None,
    **options: Any,
) -> Inferer:
    """Return MONAI's inferer for volumes ``(B, C, X, Y, Z)``.

    A 2-D network sees one slice across ``slice_axis`` after the other, a 3-D network blocks of the volume. One that
    says it learnt sagittal and axial slices sees both where ``slice_axis`` is 0 (:class:`PlanesInferer`). An image
    that measures ``roi_size`` at most is seen as it is, without padding, so that the result is the same for every
    ``roi_size`` that it fits in; along an axis where it is larger it is covered by overlapping windows. Memory is
    bounded by ``sw_batch_size`` windows and the result.

    Args:
        spatial_dims: 2 or 3, the network's.
        roi_size: size of a window at most, in pixels or voxels, ``spatial_dims`` numbers; with ``largest``, at least:
            a smaller image is padded around its centre and cut back.
        slice_axis: 0 sagittal, 1 coronal, 2 axial for volumes in RAS; used in 2-D only.
        amp: run the network in mixed precision, the device's own type, bfloat16 on a CPU.
        largest: windows of at least ``roi_size`` grow with the image, to this size at most (:class:`FittedInferer`).
        multiple: with ``largest``, what the sides of grown windows are multiples of.
        planes: to read with ``slice_axis`` 0, of ``sagittal`` and ``axial``; None for those that the network learnt.
        options: of MONAI's ``SlidingWindowInferer``, such as ``sw_batch_size`` and ``overlap``; with ``progress`` the
            windows are counted under the title of the stage (:class:`CountedInferer`).
    """
    check_spatial_dims(spatial_dims)
    axis = slice_axis if spatial_dims == 2 else None
    counted = bool(options.pop("progress", False))
    if planes is not None and axis != 0:
        raise ConfigError("planes are of a 2-D network with slice_axis 0; leave them out (null) for any other.")

    def windows(size: tuple[int, ...]) -> Inferer:
        inferer = (
            SlidingWindowInferer(roi_size=size, **options)
            if axis is None
            else SliceInferer(spatial_dim=axis, roi_size=size, **options)
        )
        return CountedInferer(inferer, size, axis) if counted else inferer

    inferer: Inferer = (
        FittedInferer(windows, [1] * len(roi_size), roi_size, 1, axis)
        if largest is None
        else FittedInferer(windows, roi_size, largest, multiple, axis)
    )
    inferer = AutocastInferer(inferer) if amp else inferer
    return PlanesInferer(inferer, planes) if axis == 0 else inferer
