"""Named levels as a DICOM SEG: one segment for each, with its own code in SNOMED CT where there is one."""

from __future__ import annotations

from pathlib import Path

from monai.data import MetaTensor

from spinefuse_ext.dicom.write_seg import write_seg
from spinefuse_ext.levels.record import Levels
from spinefuse_ext.validation import LevelsError


def write_levels_seg(volume: MetaTensor, found: Levels, source: str | Path, out: str | Path) -> Path:
    """Write level numbers ``(1, X, Y, Z)`` as a DICOM SEG of the series they lie on; returns ``out``.

    Raises:
        LevelsError: the levels are relative (V1, V2), which no code stands for.
    """
    if found.relative:
        raise LevelsError(
            "A DICOM SEG of levels needs their names, but these are counted (V1, V2); give one that is known by "
            "--anchor or --lowest_disc, or leave --dicom out."
        )
    return write_seg(volume, source, out, structures={level.number: level.name for level in found.levels})
