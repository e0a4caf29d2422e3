"""The moving image on the fixed image's grid, through one interpolation."""

from __future__ import annotations

from typing import Any

import itk
import numpy as np
import torch
from monai.data import ITKWriter, MetaTensor

from spinefuse_ext.images.stored_image import ITK_FROM_RAS, PLACED
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM, transform_on


def resample(
    moving_image: MetaTensor,
    fit: RegistrationFit,
    reference_image: MetaTensor,
    *,
    outside: float | None = None,
    spacing_mm: float = FIELD_SPACING_MM,
) -> MetaTensor:
    """Return the moving image ``(1, X, Y, Z)`` on the reference grid ``(1, X', Y', Z')``, float32, linear.

    Args:
        moving_image: Image in moving (MR) space, affine in RAS.
        fit: Map from fixed to moving space.
        reference_image: Image in fixed (CT) space; only its grid is used.
        outside: Value where the moving image has none; by default its minimum.
        spacing_mm: Distance of the displacement vectors of a fit that is not linear.
    """
    value = float(moving_image.min()) if outside is None else outside
    resampled = itk.resample_image_filter(
        to_itk_scalar(moving_image),
        transform=transform_on(fit, reference_image, spacing_mm),
        reference_image=to_itk_scalar(reference_image),
        use_reference_image=True,
        default_pixel_value=value,
    )
    voxels = torch.from_numpy(np.ascontiguousarray(itk.array_view_from_image(resampled).T))
    own = ("affine", "original_affine", ITK_FROM_RAS, PLACED)  # said of the grid that it had
    meta = {key: value for key, value in moving_image.meta.items() if key not in own}
    meta["spatial_shape"] = np.array(reference_image.shape[1:])
    return MetaTensor(voxels[None], affine=reference_image.affine.clone(), meta=meta)


def to_itk_scalar(image: MetaTensor) -> Any:
    """Return ``(1, X, Y, Z)`` as a scalar float32 ITK image in LPS; also one of a single slice."""
    if image.ndim != 4 or image.shape[0] != 1:
        raise ValueError(f"Expected an image (1, X, Y, Z), got {tuple(image.shape)}.")
    voxels = image.as_tensor()[0].float().cpu().numpy()
    return ITKWriter.create_backend_obj(
        voxels, channel_dim=None, affine=image.affine, dtype=np.float32, affine_lps_to_ras=True
    )
