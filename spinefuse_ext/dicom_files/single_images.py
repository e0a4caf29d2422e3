"""A scan whose every image was given a SeriesInstanceUID of its own, as some anonymisers do, joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spinefuse_ext.dicom_files.series import Series

_FEWEST = 3


def joined_images(found: Sequence[Series], source: Path) -> Series | None:
    """Return three or more series of one image each as one, if all else that names a series is equal; else None."""
    facts = {(each.modality, each.patient_id, each.number, each.description) for each in found}
    named = found[0].number or found[0].description if found else ""
    single = all(each.number_of_slices == 1 and each.slices[0].frame is None for each in found)
    if len(found) < _FEWEST or len(facts) > 1 or not named or not single:
        return None
    first = found[0]
    name = f"{first.modality} '{first.description}' (number {first.number or 'none'})"
    note = f"{source}: the {len(found)} images of {name} have a SeriesInstanceUID each, and were taken as one series"
    return replace(first, slices=tuple(slice_ for each in found for slice_ in each.slices), notes=(note,))
