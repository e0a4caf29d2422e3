"""Landmarks out of a label volume: one named point per vertebra, so that two labelled scans can be registered."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from monai.utils import ensure_tuple
from numpy.typing import NDArray
from scipy import ndimage

from spinefuse_ext.images.stored_image import as_in_itk
from spinefuse_ext.registration.label_schemes import vertebra_names
from spinefuse_ext.registration.label_values import whole_labels
from spinefuse_ext.registration.landmark_files import check_landmark_target, write_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.program_place import is_slicers
from spinefuse_ext.validation import LandmarkError
from spinefuse_ext.volumes.volume import read_volume

_ORDERS = ("top_down", "number", "vertebra")

logger = logging.getLogger(__name__)


def landmarks_from_labels(
    label_path: str | Path,
    out: str | Path,
    *,
    labels: int | Iterable[int] | None = None,
    order: str = "top_down",
    scheme: str | None = None,
) -> Landmarks:
    """Write the centroid of every label as a landmark file (``.mrk.json`` or ``.fcsv``) and return the points.

    Args:
        label_path: Label volume with whole numbers, 0 is background.
        out: Landmark file to write.
        labels: Label numbers to use; by default all.
        order: How points are named. "top_down": V01, V02, ... from the head down, for label numbers that are not
            anatomical; names of two volumes match when both show the same vertebrae. "number": the label number.
            "vertebra": the name of the level that the number stands for in ``scheme``.
        scheme: For the order "vertebra": "verse" (20 is L1), "totalsegmentator" (31 is L1), "totalsegmentator_v1" (its
            first version, 22 is L1), "spider" (5 is L1) or "tptbox" (as VerSe, with discs and endplates). By default
            the names in the file tell, or else the scheme that numbers and heights fit.

    Raises:
        MissingPathError: The label volume does not exist.
        LandmarkError: Values that are no labels, a label that is absent, without a name or not where its name says, an
            unknown order or scheme, or numbers that two schemes read differently.
    """
    if order not in _ORDERS:
        raise LandmarkError(f"Expected an order out of {', '.join(_ORDERS)}, got {order}; choose one of these.")
    if scheme is not None and order != "vertebra":
        raise LandmarkError(f"A scheme names vertebrae, got {scheme} for the order {order}; use the order vertebra.")
    check_landmark_target(out)
    label = read_volume(label_path)
    if is_slicers(out):
        as_in_itk(label)
    volume = whole_labels(label, Path(label_path))
    numbers = _numbers(volume, labels, Path(label_path))
    centroids = _centroids(volume, label.affine.numpy(), numbers)
    if order == "top_down":
        centroids = centroids[np.argsort(-centroids[:, 2], kind="stable")]
        names = tuple(f"V{rank:02d}" for rank in range(1, len(numbers) + 1))
    elif order == "number":
        names = tuple(map(str, numbers))
    else:
        named = vertebra_names(numbers, centroids, Path(label_path), scheme)
        centroids = centroids[[number in named for number in numbers]]
        names = tuple(named.values())
    landmarks = Landmarks(names, centroids)
    write_landmarks(landmarks, out)
    logger.info("Wrote %s: %d points, %s", out, len(names), ", ".join(names))
    return landmarks


def _numbers(volume: NDArray[np.int64], wanted: int | Iterable[int] | None, path: Path) -> list[int]:
    """Return the label numbers to use, checked against the volume, in rising order."""
    present = [int(value) for value in np.unique(volume) if value]
    if not present:
        raise LandmarkError(f"{path} holds no label (0 everywhere); name the label volume, or export it again.")
    numbers = sorted({int(number) for number in ensure_tuple(wanted)}) if wanted is not None else present
    missing = [number for number in numbers if number not in present]
    if missing or not numbers:
        raise LandmarkError(
            f"{path} has no label {', '.join(map(str, missing))}; it has {present}, choose out of these."
        )
    return numbers


def _centroids(volume: NDArray[np.int64], affine: NDArray[np.float64], numbers: list[int]) -> NDArray[np.float64]:
    """Return the centroid of each label in RAS mm, ``(N, 3)``."""
    voxels = np.array(ndimage.center_of_mass(np.ones_like(volume), volume, numbers))
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)
