"""The levels of a prediction, named behind a segmentation; what goes wrong there does not spoil the prediction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from spinefuse_ext.console import tell
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.validation import SpinefuseError
from spinefuse_ext.verbs.results import PREDICTION_FILE

logger = logging.getLogger(__name__)


def name_levels(folder: str | Path, labels: Sequence[str]) -> None:
    """Write the levels of ``prediction.nii.gz`` beside it; a prediction without levels is a warning.

    Args:
        folder: of the prediction.
        labels: names of its classes, background first.
    """
    from spinefuse_ext.levels import levels  # brings what draws the picture

    path = Path(folder) / PREDICTION_FILE
    named = set(STRUCTURES.values())
    relabel: dict[str | int, str | int] = {
        value: name if name in named else "background" for value, name in enumerate(labels)
    }
    try:
        found = levels(path, folder, relabel=relabel)
    except SpinefuseError as error:
        logger.warning("%s: no levels were named: %s", folder, error)
        return
    tell(f"Wrote {Path(folder) / 'levels.nii.gz'}: {found.told()}; levels.json and levels.png lie beside it.")
