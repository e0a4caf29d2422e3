"""Labels into a case's dictionary, by their names and on the grid of their image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.label_files.label_classes import LabelScheme


class ReadLabeld(MapTransform):
    """Replace the path of a label by its classes ``(1, X, Y, Z)``, float32, on the grid of the case's image.

    Image files, DICOM SEG and segmentations of 3D Slicer are read as in ``spinefuse prepare``: by the names in them or
    beside them, with the same checks of values and place. On another grid a label is placed by its affine, nearest
    voxel, which is said in the log. A volume in the place of a path is checked and placed alike. A case may hold the
    names of its values as ``label_names``, ``{1: "disc"}``, which come before those of the file.

    Args:
        keys: of labels.
        image_key: of the image that the label was drawn on, a volume already.
        labels: names of the classes, background first.
        relabel: class, by name or number, of a name or value in the files that is none of these.
        ignore_index: value of voxels whose truth is unknown.
        allow_missing_keys: pass over a case without a label.

    Raises:
        ConfigError: ``relabel`` leads to something that is no class.
        MissingPathError: from a call, when a path does not exist.
        ImageReadError: from a call, when a file is damaged or no label.
        UnknownLabelError: from a call, when it holds names or values that are no class.
        GridMismatchError: from a call, when its place was lost, or it does not lie on its image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = CaseKeys.IMAGE,
        *,
        labels: Sequence[str] | None = None,
        relabel: Mapping[str | int, str | int] | None = None,
        ignore_index: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = str(image_key)
        self.scheme = LabelScheme.of(labels, relabel, ignore_index)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            # needs packages that MONAI alone does not bring
            from spinefuse_ext.label_files.label_place import place_label
            from spinefuse_ext.volumes.read_label import checked_label, label_for

            image = d[self.image_key]
            if isinstance(d[key], MetaTensor):
                label, _ = place_label(checked_label(d[key], self.scheme), image)
            else:
                label, _ = label_for(d[key], image, self.scheme, names=d.get(CaseKeys.LABEL_NAMES))
            meta = {name: value for name, value in label.meta.items() if isinstance(value, (str, np.ndarray))}
            d[key] = MetaTensor(label.as_tensor().float(), affine=label.affine, meta=meta)
        return d
