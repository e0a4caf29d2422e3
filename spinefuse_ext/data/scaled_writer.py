"""NIfTI files of integers that readers turn back into fractions."""

from __future__ import annotations

from typing import Any

from spinefuse_ext.data.writer import AtomicNibabelWriter


class ScaledNibabelWriter(AtomicNibabelWriter):
    """``AtomicNibabelWriter`` whose ``write`` also takes ``slope``: what readers multiply the stored numbers by.

    Without a slope the header holds none. nibabel drops a slope that comes with the header of a new image, so it is
    set on the image.
    """

    @classmethod
    def create_backend_obj(cls, data_array: Any, *args: Any, slope: float | None = None, **kwargs: Any) -> Any:
        image: Any = super().create_backend_obj(data_array, *args, **kwargs)
        if slope is not None:
            image.header.set_slope_inter(slope, 0)
        return image
