"""A label volume of any program as class numbers of the structures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.levels.ids import SCHEMES
from spinefuse_ext.names import listed
from spinefuse_ext.registration.label_values import whole_labels
from spinefuse_ext.validation import ConfigError, check_choice, check_exists
from spinefuse_ext.volumes.read_label import read_label
from spinefuse_ext.volumes.volume import read_volume

logger = logging.getLogger(__name__)


def read_structures(
    path: str | Path, scheme: str | None = None, relabel: Mapping[str | int, str | int] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return class numbers ``(X, Y, Z)`` of ``STRUCTURES``, and the affine to RAS mm.

    ``scheme`` names a program whose numbers the file holds (``SCHEMES``); what is no vertebra, disc, canal or sacrum in
    it is background, and said. Without one the names in the file count, then ``relabel``, then the numbers.

    Raises:
        MissingPathError: the file does not exist.
        ImageReadError, LandmarkError: it holds no labels.
        UnknownLabelError: a name or number that stands for none of the structures.
        ConfigError: no such scheme, or both a scheme and relabel.
    """
    path = check_exists(path, "The label volume")
    if scheme is None:
        label = read_label(path, LabelScheme(STRUCTURES, relabel))
        for sentence in label.meta.get("warnings", ()):
            logger.info("%s", sentence)
        return label.numpy()[0].astype(np.uint8), np.asarray(label.affine.numpy(), dtype=np.float64)
    ranges = SCHEMES[check_choice("scheme", scheme, sorted(SCHEMES))]
    if relabel is not None:
        raise ConfigError("The settings scheme and relabel both say what the numbers are; leave one out.")
    volume = read_volume(path)
    numbers = whole_labels(volume, path)
    classes = np.zeros(numbers.shape, np.uint8)
    values = {name: number for number, name in STRUCTURES.items()}
    for first, last, structure in ranges:
        classes[(numbers >= first) & (numbers <= last)] = values[structure]
    left = np.unique(numbers[(classes == 0) & (numbers > 0)]).tolist()
    if left:
        logger.info("%s: %s are no part of the spine in the scheme %s and were left out", path, listed(left), scheme)
    return classes, np.asarray(volume.affine.numpy(), dtype=np.float64)
