"""The numbers of a label volume: whole, but for the rounding of programs that save them as floating point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.validation import LandmarkError
from spinefuse_ext.volumes.read_label import not_whole

_SHOWN = 3


def whole_labels(label: MetaTensor, path: Path) -> NDArray[np.int64]:
    """Return the numbers ``(X, Y, Z)`` of a label volume ``(1, X, Y, Z)``.

    Raises:
        LandmarkError: A value is negative, or no whole number by more than 0.001.
    """
    values = label.as_tensor()[0].cpu().numpy()
    rounded = np.rint(values)
    odd = values[not_whole(values) | (rounded < 0)]
    if odd.size:
        listed = ", ".join(f"{value:.6g}" for value in np.unique(odd)[:_SHOWN])
        raise LandmarkError(
            f"{path} is no label volume: expected whole numbers from 0, got values such as {listed}; name the label "
            "file, or export it again."
        )
    return np.asarray(rounded, dtype=np.int64)
