"""Series that were sent twice under UIDs of their own: told by the place and the pixels of all their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.copies import pixel_digest
from spinefuse_ext.dicom_files.placed import Placed, placed
from spinefuse_ext.dicom_files.series import Series
from spinefuse_ext.dicom_files.telling import signature
from spinefuse_ext.validation import ImageReadError

_Key = tuple[object, ...]


def without_resent(found: Sequence[Series], source: Path) -> tuple[list[Series], list[str]]:
    """Return the series but those of which another one of the same scan holds every image; a sentence about each.

    Of two equal ones the first stays. Pixels are read only where all places of one are places of another.
    """
    images = {number: _places(series) for number, series in enumerate(found)}
    kept, notes = list(range(len(found))), []
    for number in sorted(kept, key=lambda each: (len(found[each].slices), -each)):
        others = [each for each in kept if each != number and _same_scan(found[each], found[number])]
        whole = next((each for each in others if _holds(images[each], images[number])), None)
        if whole is not None:
            kept.remove(number)
            notes.append(
                f"{source}: {found[number]} is left out, because every image of it is in {found[whole]} too, with "
                "equal pixels at an equal place"
            )
    return [found[number] for number in kept], notes


def _same_scan(one: Series, other: Series) -> bool:
    names = ("modality", "patient_id", "frame_of_reference", "number", "description")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _places(series: Series) -> dict[_Key, list[Placed]]:
    """The images of a series by what must be equal before pixels are compared; none where one has no place."""
    places: dict[_Key, list[Placed]] = {}
    try:
        for each in series.slices:
            image = placed(each)
            key = (*signature(each.header), image.size, *np.round((*image.corner, *image.steps.ravel()), 2))
            places.setdefault(key, []).append(image)
    except (AttributeError, ImageReadError):  # who reads the series says what is wrong
        return {}
    return places


def _holds(whole: dict[_Key, list[Placed]], part: dict[_Key, list[Placed]]) -> bool:
    if not part or not part.keys() <= whole.keys():
        return False
    decoded: dict[Path, NDArray[np.float32]] = {}

    def digests(images: Sequence[Placed]) -> Counter[_Key]:
        return Counter(pixel_digest(image.slice, decoded) for image in images)

    return all(digests(part[key]) <= digests(whole[key]) for key in part)
