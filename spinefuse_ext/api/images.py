"""Images and landmarks that a Python caller hands over, as the files that the verbs read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from spinefuse_ext.registration.landmark_files import write_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes.volume import write_volume


class Volume(NamedTuple):
    """A volume: ``array`` ``(X, Y, Z)`` and ``affine`` ``(4, 4)``, voxel to RAS millimetres."""

    array: NDArray[Any]
    affine: NDArray[np.float64]

    def __repr__(self) -> str:
        spacing = tuple(round(float(edge), 3) for edge in affine_to_spacing(self.affine))
        return f"Volume(shape={self.array.shape}, dtype={self.array.dtype}, spacing_mm={spacing})"

    def save(self, path: str | Path) -> Path:
        """Write it as NIfTI, whole or not at all; return the path, which ends in ``.nii`` or ``.nii.gz``."""
        write_volume(_volume(self.array, self.affine, "volume"), path)
        return Path(path)


#: A path of anything that ``read_volume`` reads, what it returns, a nibabel image, or an array with its affine.
Image: TypeAlias = str | os.PathLike[str] | MetaTensor | SpatialImage | Volume | tuple[Any, Any]
#: Landmarks: a file of 3D Slicer or a table, or the points themselves.
PointList: TypeAlias = str | os.PathLike[str] | Landmarks


class Inputs:
    """The inputs of one call as files; those that were in memory lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[str, str] = {}

    def image(self, image: Image, name: str) -> str:
        """The path of an image, which is written when it is in memory; ``name`` is that of the argument.

        Raises:
            ImageReadError: something that is no image, or no volume with a place.
        """
        if isinstance(image, (str, os.PathLike)):
            return os.fspath(image)
        path = self._path(name, ".nii")
        if isinstance(image, MetaTensor):
            write_volume(_volume(image.as_tensor(), image.affine, name), path)
        elif isinstance(image, SpatialImage):
            _save_nibabel(image, path, name)
        elif isinstance(image, tuple) and len(image) == 2:
            write_volume(_volume(image[0], image[1], name), path)
        else:
            raise ImageReadError(
                f"Expected {name} to be a path, what read_volume returns, a nibabel image or (array, affine), got "
                f"{type(image).__name__}."
            )
        return str(path)

    def optional_image(self, image: Image | None, name: str) -> str | None:
        """As :meth:`image`; None stays None."""
        return None if image is None else self.image(image, name)

    def points(self, points: PointList | None, name: str) -> str | None:
        """The path of landmarks, which are written when they are in memory."""
        if not isinstance(points, Landmarks):
            return None if points is None else os.fspath(points)
        path = self._path(name, ".mrk.json")
        write_landmarks(points, path)
        return str(path)

    def plain(self, text: str) -> str:
        """``text`` with the arguments' names in place of the files that were written for them."""
        for path, name in self.kept.items():
            text = text.replace(path, f"({name}, from memory)")
        return text

    def _path(self, name: str, suffix: str) -> Path:
        path = self.folder / f"{name}{suffix}"
        self.kept[str(path)] = name
        return path


def load(path: Path, dtype: type) -> Volume:
    """Read a NIfTI file of this package's own into memory."""
    image: Any = nib.load(path)
    return Volume(np.asarray(image.dataobj).astype(dtype), np.asarray(image.affine, dtype=np.float64))


def _volume(array: Any, affine: Any, name: str) -> MetaTensor:
    """``(X, Y, Z)`` or ``(1, X, Y, Z)`` with its affine as a volume that can be written."""
    voxels = torch.as_tensor(np.asarray(array))
    place = np.asarray(affine, dtype=np.float64)
    if voxels.ndim == 3:
        voxels = voxels[None]
    if voxels.ndim != 4 or voxels.shape[0] != 1 or voxels.is_complex():
        raise ImageReadError(f"Expected {name} as one volume (X, Y, Z) of numbers, got the shape {np.shape(array)}.")
    if place.shape != (4, 4) or not np.isfinite(place).all() or abs(np.linalg.det(place[:3, :3])) < 1e-9:
        raise ImageReadError(
            f"Expected the affine of {name} as an invertible 4 x 4 matrix, voxel to RAS mm, got {place.tolist()}."
        )
    return MetaTensor(voxels.to(torch.float32), affine=torch.from_numpy(place))


def _save_nibabel(image: SpatialImage, path: Path, name: str) -> None:
    """Write a nibabel image; what is a NIfTI keeps its header, which says whether the place is known."""
    if not isinstance(image, nib.Nifti1Image):
        write_volume(_volume(np.asanyarray(image.dataobj), image.affine, name), path)
        return
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), path)
