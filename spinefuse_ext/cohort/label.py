"""A label volume on the grid of its CT, checked to be one."""

from __future__ import annotations

from pathlib import Path

from monai.data import MetaTensor

from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes.read_label import label_for


def read_label(path: str | Path, ct: MetaTensor, scheme: LabelScheme | None = None) -> tuple[MetaTensor, list[str]]:
    """Read a label as class numbers, ``(1, X, Y, Z)`` on the grid of ``ct``, and what is odd about it.

    It must be drawn in the space of the CT. As ``label_for`` reads it, but a label without a labelled voxel is refused.

    Raises:
        MissingPathError: The file does not exist.
        ImageReadError: It is no label, or holds no labelled voxel.
        UnknownLabelError: A name or value in it is none of the classes.
        GridMismatchError: Its place was lost, or none of it lies on the CT.
    """
    label, found = label_for(path, ct, scheme, bone=True)
    if not bool((label.as_tensor() != 0).any()):
        raise ImageReadError(f"{path} holds no labelled voxel; leave the cell label empty for a case without a label.")
    return label, found
