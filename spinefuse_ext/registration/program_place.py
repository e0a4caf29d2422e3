"""Images placed as the program does in which their landmarks or the transform were made."""

from __future__ import annotations

from pathlib import Path

from monai.data import MetaTensor

from spinefuse_ext.images.stored_image import as_in_itk

#: Landmark files of 3D Slicer. A ``.csv`` table does not say which program its points come from.
_SLICER = (".json", ".fcsv")


def is_slicers(landmarks: str | Path | None) -> bool:
    """Whether a landmark file is one of 3D Slicer, whose points lie where ITK places the image."""
    return landmarks is not None and Path(landmarks).suffix.lower() in _SLICER


def place_for(
    images: tuple[MetaTensor, MetaTensor],
    landmarks: tuple[str | Path | None, str | Path | None],
    transform: str | Path | None,
) -> list[str]:
    """Move CT and MR to where ITK places them if their points or the transform come from there; say what was moved.

    Only an image whose header says two places, or none, is moved; its affine is replaced.
    """
    found = []
    for image, points in zip(images, landmarks, strict=True):
        if transform is not None or is_slicers(points):
            found += as_in_itk(image)
    return found
