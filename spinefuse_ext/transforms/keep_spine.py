"""Keep the spine of a prediction and drop what lies apart from it."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from numpy.typing import NDArray

from spinefuse_ext.packages import installed, missing_sentence
from spinefuse_ext.validation import check_names, check_number

logger = logging.getLogger(__name__)

#: Key of ``meta`` for what ``KeepSpined`` dropped.
ISLANDS = "islands"
_SURENESS = 4  # power of a voxel's probability by which it counts: a large doubtful liver is no spine
_CANAL = 0.5  # of the bone: more canal than that is none
_LARGE = 0.1  # of the spine: an island from which on it may be a part of it
_DISC_MM = 25.0  # largest height of a disc with what a network leaves out beside it
_ABOVE = 0.3  # of a vertebra that lies within the box of the next one, along each axis across the body


class SpineParts(NamedTuple):
    """The mask ``(X, Y, Z)`` of the spine, its voxels, and those of every part that is not it."""

    spine: NDArray[np.bool_]
    voxels: int
    islands: list[int]


class KeepSpined(MapTransform):
    """Make background of all that lies apart from the spine in probabilities ``(K, X, Y, Z)``.

    All voxels that are no background fall into *parts*: voxels that touch (26 neighbours), and what lies no more than
    about ``gap_mm`` from each other (each grown by half of that), are of one part. The spine is the part with the
    largest product of bone (vertebra and sacrum) and canal, each voxel by the fourth power of its probability, so
    that a large organ of which a network is not sure weighs little; canal counts up to half of the bone. Where no
    part holds both, it is the part whose bone and disc reach farthest along the axis of the body (the voxel axis
    nearest to head-feet); of equal ones, that with more voxels; and with it, one after the other, what lies above or
    below it with a tenth of its voxels or more, no more than 25 mm further, and three tenths within its box across
    that axis: vertebrae whose discs and canal were not found. Dropped voxels get probability 1 of background. A
    prediction without bone and disc, and labels without a class ``vertebra``, stay as they are.

    ``meta["islands"]`` says what was dropped: ``dropped`` parts, ``ml`` in all, ``largest_ml``. So does the log, with a
    warning where the largest has a tenth of the spine's volume. Anatomy with gaps stays whole: all labels of 33
    lumbar MR (SPIDER) do at 5 mm, at touching voxels alone up to a quarter of their vertebrae would be lost.

    Args:
        keys: of probabilities, with the affine in their meta.
        labels: names of the K classes, background first; ``vertebra``, ``disc``, ``canal`` and ``sacrum`` count.
        gap_mm: largest gap within the spine.
        allow_missing_keys: do nothing for a case without the key.

    Raises:
        ConfigError: the gap is below 0.
    """

    def __init__(
        self, keys: KeysCollection, *, labels: Sequence[str], gap_mm: float = 5.0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        numbers = {name: index for index, name in enumerate(check_names("labels", labels))}
        self.vertebra, self.canal = numbers.get("vertebra"), numbers.get("canal")
        self.bone = [numbers[name] for name in ("vertebra", "sacrum") if name in numbers]
        self.column = [*self.bone, *(number for name, number in numbers.items() if name == "disc")]
        self.gap_mm = check_number("gap_mm", gap_mm, least=0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.vertebra is None:
                continue
            if not installed("scipy"):
                logger.warning("%s", missing_sentence("scipy", "Dropping what lies apart from the spine"))
                continue
            d[key] = self._kept(d[key])
        return d

    def _kept(self, probability: MetaTensor) -> MetaTensor:
        highest, number = probability.as_tensor().max(0)
        classes, certainty = number.cpu().numpy(), highest.float().cpu().numpy()
        found = self.parts(classes, np.asarray(probability.affine.cpu(), dtype=np.float64), certainty)
        if found is None:
            return probability
        ml = float(probability.affine[:3, :3].det().abs()) / 1000
        kept = probability.clone()
        if found.islands:
            dropped = torch.as_tensor((classes > 0) & ~found.spine, device=kept.device)
            kept[:, dropped] = 0
            kept[0, dropped] = 1
        largest = max(found.islands, default=0)
        kept.meta[ISLANDS] = {
            "dropped": len(found.islands),
            "ml": round(sum(found.islands) * ml, 3),
            "largest_ml": round(largest * ml, 3),
        }
        _tell(kept, found.voxels * ml)
        return kept

    def parts(
        self,
        classes: NDArray[np.int64],
        affine: NDArray[np.float64],
        certainty: NDArray[np.float32] | None = None,
    ) -> SpineParts | None:
        """Find the spine in class numbers ``(X, Y, Z)`` of these probabilities; None without bone and disc."""
        column = np.isin(classes, self.column)
        if not column.any():
            return None
        spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
        numbers, count = _numbered(classes > 0, spacing_mm, self.gap_mm)
        sure = np.ones(classes.shape) if certainty is None else certainty**_SURENESS
        sizes = np.bincount(numbers[classes > 0], minlength=count + 1).astype(float)
        bone, canal = (
            np.bincount(numbers[mask], sure[mask], minlength=count + 1)
            for mask in (np.isin(classes, self.bone), classes == self.canal)
        )
        rank, axis = bone * np.minimum(canal, bone * _CANAL), int(np.abs(affine[2, :3]).argmax())
        if rank.any():
            chosen = {int(rank.argmax())}
        else:
            rank = _extents(np.where(column, numbers, 0), axis, count) + sizes / (sizes.sum() + 1)
            chosen = _stacked(numbers, sizes, int(rank.argmax()), axis, spacing_mm)
        islands = [int(size) for number, size in enumerate(sizes) if number not in (0, *chosen)]
        return SpineParts(np.isin(numbers, list(chosen)), int(sizes[list(chosen)].sum()), islands)


def _numbered(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64], gap_mm: float) -> tuple[NDArray[np.int32], int]:
    """Number the parts of ``mask`` from 1; what is no part is 0."""
    from scipy import ndimage  # optional

    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside = mask[box]
    touching = np.ones((3, 3, 3), bool)
    numbers, count = ndimage.label(inside, touching)
    if count > 1 and gap_mm > 0:
        grown = ndimage.distance_transform_edt(~inside, sampling=spacing_mm) <= gap_mm / 2
        numbers, count = ndimage.label(grown, touching)
    found = np.zeros(mask.shape, np.int32)
    found[box] = numbers * inside
    return found, int(count)


def _stacked(
    numbers: NDArray[np.int32], sizes: NDArray[np.float64], start: int, axis: int, spacing_mm: NDArray[np.float64]
) -> set[int]:
    """Numbers of the part ``start`` and of those that make a column with it, one above the other."""
    from scipy import ndimage  # optional

    large = np.flatnonzero(sizes >= _LARGE * sizes[start])
    found = ndimage.find_objects(numbers)
    boxes = {int(n): np.array([(s.start, s.stop) for s in found[n - 1]]) * spacing_mm[:, None] for n in large if n}
    stack, waiting = {start}, [start]
    while waiting:
        box = boxes[waiting.pop()]
        new = {number for number, other in boxes.items() if number not in stack and _next_to(box, other, axis)}
        stack |= new
        waiting += new
    return stack


def _next_to(one: NDArray[np.float64], other: NDArray[np.float64], axis: int) -> bool:
    """Whether boxes ``(3, 2)``, mm, lie one above the other along an axis, with no more than a disc between."""
    overlap = np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0])
    smaller = np.minimum(one[:, 1] - one[:, 0], other[:, 1] - other[:, 0])
    across = np.delete(np.arange(3), axis)
    return bool((overlap[across] >= _ABOVE * smaller[across]).all() and -_DISC_MM <= overlap[axis] <= smaller[axis] / 2)


def _extents(numbers: NDArray[np.int32], axis: int, count: int) -> NDArray[np.float64]:
    """Slices from the first to the last of each part along ``axis``; 0 for none and for number 0."""
    from scipy import ndimage

    extents = np.zeros(count + 1)
    for number, place in enumerate(ndimage.find_objects(numbers, count), start=1):
        extents[number] = 0 if place is None else place[axis].stop - place[axis].start
    return extents


def _tell(kept: MetaTensor, spine_ml: float) -> None:
    islands, name = kept.meta[ISLANDS], kept.meta.get(ImageMetaKey.FILENAME_OR_OBJ, "the case")
    if not islands["dropped"]:
        return
    sentence = (
        f"{name}: islands apart from the spine were dropped: {islands['dropped']}, {islands['ml']:.1f} ml in all, the "
        f"largest {islands['largest_ml']:.1f} ml; the spine has {spine_ml:.1f} ml."
    )
    if islands["largest_ml"] >= _LARGE * spine_ml:
        logger.warning("%s If the largest belongs to it, set keep_spine to false.", sentence)
    else:
        logger.info("%s", sentence)
