"""Whether points lie in the image that they were set on."""

from __future__ import annotations

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.names import listed
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.models import PointMap

Points = NDArray[np.float64]

#: A point this far outside was not clicked on a voxel of the image; nearer, it may lie on its rim.
MARGIN_MM = 5.0
_PROBES = 24  # points per axis at which the overlap of two images is measured


def outside_mm(points: Points, image: MetaTensor) -> Points:
    """Return how far each of ``(N, 3)`` points in RAS mm lies outside the voxels of ``image`` ``(1, X, Y, Z)``."""
    affine = image.affine.numpy().astype(np.float64)
    inverse, top = np.linalg.inv(affine), np.array(image.shape[1:]) - 0.5
    places = points @ inverse[:3, :3].T + inverse[:3, 3]
    beyond = np.maximum(np.maximum(-0.5 - places, places - top), 0)
    return np.asarray(np.linalg.norm(beyond @ affine[:3, :3].T, axis=1), dtype=np.float64)


def outside_sentence(points: Landmarks, image: MetaTensor, where: str) -> str | None:
    """Name the points of the list ``where`` that lie more than 5 mm outside their image; None without any."""
    far = outside_mm(points.points_mm, image)
    names = [
        f"{name} by {distance:.0f} mm" for name, distance in zip(points.names, far, strict=True) if distance > MARGIN_MM
    ]
    if not names:
        return None
    return (
        f"{len(names)} of {len(far)} landmarks of {where} lie outside the image {image.meta['filename_or_obj']} that "
        f"they should be set on ({listed(names, 4)}); check the file, its coordinate system and its unit."
    )


def part_inside(image: MetaTensor, other: MetaTensor, mapping: PointMap) -> float:
    """Return the part (0 to 1) of the grid of ``image`` that ``mapping`` takes inside ``other``, at 24^3 points."""
    axes = [np.linspace(0, size - 1, _PROBES) for size in image.shape[1:]]
    points = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones((_PROBES,) * 3)]).reshape(4, -1)
    moved = mapping((image.affine.numpy() @ points)[:3].T)
    return float((outside_mm(moved, other) == 0).mean())
