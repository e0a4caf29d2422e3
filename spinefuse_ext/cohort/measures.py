"""What is measured on a finished pair, and where the landmarks of its MR come to lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.registration.comparison_region import REACH_MM, compare_where
from spinefuse_ext.registration.edge_overlap import edge_overlap
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.validation import SpinefuseError

Points = NDArray[np.float64]

#: Voxels are taken at about this distance near landmarks, and at the second one all over an image: finer ones change
#: little, as edges are looked for after smoothing by 1 mm, but a whole clinical CT takes minutes and gigabytes.
_STEPS_MM = (1.0, 2.0)


def pair_edges(ct: MetaTensor, mr: MetaTensor, around: Landmarks | None) -> float | None:
    """Return the overlap (0 to 1, by chance 0.15) of the edges of a pair ``(1, X, Y, Z)`` on one grid.

    Near the landmarks ``around`` (RAS mm of the CT), or all over; None where both images show too little tissue there.
    """
    identity = LinearMap(np.eye(4))
    points = None if around is None else around.points_mm
    box = _box(ct, points)
    try:
        region = compare_where(_part(ct, box), _part(mr, box), identity, points, margin_mm=0.0, seed=0)
    except SpinefuseError:
        return None
    return edge_overlap(region, identity)[0]


def _box(image: MetaTensor, points: Points | None) -> tuple[slice, ...]:
    """Voxels near the points, or all, in steps that leave about 1 or 2 mm between them; never empty."""
    affine, sizes = image.affine.numpy(), np.array(image.shape[1:])
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    steps = np.maximum(1, _STEPS_MM[points is None] // spacing_mm).astype(int)
    low, high = np.zeros(3, dtype=int), sizes
    if points is not None:
        inverse = np.linalg.inv(affine)
        voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
        reach = (REACH_MM + 5) / spacing_mm  # some more, for the smoothing
        low = np.clip(np.floor(voxels.min(0) - reach), 0, sizes - 1).astype(int)
        high = np.clip(np.ceil(voxels.max(0) + reach) + 1, low + 1, sizes).astype(int)
    return tuple(slice(int(a), int(b), int(c)) for a, b, c in zip(low, high, steps, strict=True))


def _part(image: MetaTensor, box: tuple[slice, ...]) -> MetaTensor:
    affine = image.affine.clone()
    affine[:3, 3] += affine[:3, :3] @ torch.tensor([part.start for part in box], dtype=affine.dtype)
    affine[:3, :3] *= torch.tensor([part.step for part in box], dtype=affine.dtype)
    return MetaTensor(image.as_tensor()[0][box][None].clone(), affine=affine)


def carried_back(mapping: Callable[[Points], Points], matrix: Points, points_mm: Points) -> Points:
    """Return the fixed points ``(N, 3)`` that ``mapping`` takes to ``points_mm`` ``(N, 3)``, RAS mm.

    Fixed-point iteration about the linear map ``matrix`` ``(4, 4)``; exact for a linear mapping, and within 0.01 mm
    where the mapping bends little. Where it folds, the nearest point found is returned: it is for pictures.
    """
    back = np.linalg.inv(matrix)
    found = points_mm @ back[:3, :3].T + back[:3, 3]
    for _ in range(30):
        rest = points_mm - mapping(found)
        found = found + rest @ back[:3, :3].T
        if np.abs(rest).max() < 0.01:
            break
    return found
