"""Slices of a volume as a radiologist hangs them: patient right on the left, anterior left or up, superior up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Orientation
from numpy.typing import NDArray

ImageLike = NDArray[np.generic] | torch.Tensor
Limits = tuple[float, float]

PLANES = ("sagittal", "coronal", "axial")
#: Per plane, the RAS axes shown across and down the picture; both run from their positive end.
_SHOWN = ((1, 2), (0, 2), (0, 1))
#: Per RAS axis, the letters at its positive and its negative end.
_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))


@dataclass(frozen=True)
class Volume:
    """One image in RAS: ``array`` is ``(X, Y, Z)``, ``affine`` ``(4, 4)`` maps its indices to mm."""

    array: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        return np.asarray(affine_to_spacing(self.affine), dtype=np.float64)

    def size_mm(self, axis: int) -> tuple[float, float]:
        """Width and height in mm of this plane's picture."""
        across, down = _SHOWN[axis]
        size = self.spacing_mm * self.array.shape
        return float(size[across]), float(size[down])

    def picture(self, axis: int, index: int) -> NDArray[np.float32]:
        """Slice ``index`` along RAS ``axis`` as ``(rows, columns)``, upper left first."""
        return np.take(self.array, index, axis=axis)[::-1, ::-1].T

    def position(self, axis: int, index: int) -> str:
        """Where a slice lies, in words and mm of the patient space, for example ``sagittal, 12 mm L``."""
        centre = (np.asarray(self.array.shape) - 1) / 2
        centre[axis] = index
        place_mm = float((self.affine @ np.append(centre, 1))[axis])
        return f"{PLANES[axis]}, {abs(place_mm):.0f} mm {_LETTERS[axis][int(place_mm < 0)]}"

    def picture_points(self, points_mm: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        """RAS points ``(N, 3)`` in mm -> ``(N, 3)``: mm right of and below the picture's corner, and slice index."""
        voxels = self.voxels(points_mm)
        from_end_mm = (np.asarray(self.array.shape) - 0.5 - voxels) * self.spacing_mm
        across, down = _SHOWN[axis]
        return np.column_stack([from_end_mm[:, across], from_end_mm[:, down], voxels[:, axis]])

    def voxels(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """RAS points ``(N, 3)`` in mm -> voxel indices ``(N, 3)``, with fractions."""
        homogeneous = np.column_stack([points_mm, np.ones(len(points_mm))])
        voxels: NDArray[np.float64] = (homogeneous @ np.linalg.inv(self.affine).T)[:, :3]
        return voxels

    def cropped(self, low: Sequence[int], high: Sequence[int]) -> Volume:
        """The part from voxel ``low`` up to, not with, voxel ``high``; it stays where it is in space."""
        part = self.array[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ np.asarray(low)
        return Volume(part, affine)


def as_volume(image: ImageLike) -> Volume:
    """``(1, X, Y, Z)``, ``(X, Y, Z)`` or ``(X, Y)`` -> volume in RAS.

    A MetaTensor is turned to RAS by its affine; any other array is taken to be RAS at 1 mm already.

    Raises:
        ValueError: the image has another number of axes, or more than one channel.
    """
    tensor = image if isinstance(image, torch.Tensor) else torch.as_tensor(np.array(image))
    if tensor.ndim == 2:
        tensor = tensor[..., None]
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim != 4 or tensor.shape[0] != 1:
        raise ValueError(f"Expected an image (1, X, Y, Z), (X, Y, Z) or (X, Y), got shape {tuple(tensor.shape)}.")
    if isinstance(tensor, MetaTensor):
        tensor = turn_to_ras(tensor)
        affine = np.asarray(tensor.affine.cpu(), dtype=np.float64)
    else:
        affine = np.eye(4)
    return Volume(np.asarray(tensor[0].detach().cpu(), dtype=np.float32), affine)


def turn_to_ras(image: MetaTensor) -> MetaTensor:
    """The same image ``(C, X, Y, Z)`` with its axes flipped and swapped to RAS."""
    # the letters are MONAI's default; named because leaving them out draws a deprecation warning
    orient = Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    return cast(MetaTensor, orient(image))


def as_volumes(**images: ImageLike) -> list[Volume]:
    """Volumes of one grid; raise ``ValueError`` naming each with its shape when the shapes differ."""
    volumes = {name: as_volume(image) for name, image in images.items()}
    if len({volume.array.shape for volume in volumes.values()}) > 1:
        listed = ", ".join(f"{name} {volume.array.shape}" for name, volume in volumes.items())
        raise ValueError(f"Expected images of one grid, got {listed}. Resample them onto the CT grid first.")
    return list(volumes.values())


def edge_letters(axis: int) -> tuple[str, str, str, str]:
    """Letters at the left, right, top and bottom of a picture of this plane."""
    across, down = _SHOWN[axis]
    return *_LETTERS[across], *_LETTERS[down]


def informative_slices(mask: NDArray[np.bool_], axis: int, count: int = 1) -> list[int]:
    """``count`` slice indices along ``axis`` of a mask ``(X, Y, Z)``, ascending and spread evenly.

    They are drawn from the slices with at least half as much foreground as the fullest one (one slice: the middle
    one of these, which is near the midline of a spine), so fewer than ``count`` come back when there are fewer. An
    empty mask gives slices about the middle.
    """
    filled = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    if not filled.any():
        filled = np.ones_like(filled)
    worth = np.flatnonzero(2 * filled >= filled.max())
    if count == 1:
        return [int(worth[len(worth) // 2])]
    places = np.linspace(0, len(worth) - 1, count + 2)[1:-1].round().astype(int)
    return sorted({int(worth[place]) for place in places})


def percentile_limits(volume: Volume, low: float = 1.0, high: float = 99.5) -> Limits:
    """Grey limits of an image without a fixed unit: two percentiles of its voxels that are not zero."""
    values = volume.array[np.isfinite(volume.array) & (volume.array != 0)]
    if values.size == 0:
        return 0.0, 1.0
    lower, upper = (float(value) for value in np.percentile(values, (low, high)))
    return (lower, upper) if upper > lower else (lower - 0.5, lower + 0.5)
