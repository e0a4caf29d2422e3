"""Images into a case's dictionary through the one reader of the package."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from spinefuse_ext.enums import MODALITIES, series_key
from spinefuse_ext.validation import check_choice
from spinefuse_ext.volumes.volume import read_volume


class ReadVolumed(MapTransform):
    """Replace a path by its volume ``(1, X, Y, Z)``, float32, with the affine in RAS mm.

    DICOM folders (several series, compressed, enhanced, tilted) and image files are read as in ``spinefuse register``,
    with the same corrections of CT values. The axes stay as stored. ``meta`` says ``patient_id``,
    ``frame_of_reference`` and ``modality`` of every file, empty where it has none, and holds no lists, which would not
    fit in a batch. A volume that was read before only gets such a ``meta``.

    A case may say which series of a DICOM folder is meant under ``series_ct`` for the key ``ct``, and so on: number,
    description or UID, with ``/stack2`` behind it for the second stack of the series.

    Args:
        keys: of paths.
        modality: "CT" or "MR", one for all keys or one each: which series of a DICOM folder, and whether values are HU.
            None stands for what the key says: CT under ``ct``, MR under ``mr``, the only series under any other.
        allow_missing_keys: pass over keys that a case does not have.

    Raises:
        MissingPathError: from a call, when a path does not exist.
        ImageReadError: from a call, when there is no single volume of the modality.
    """

    def __init__(
        self, keys: KeysCollection, modality: str | Sequence[str | None] | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        given = ensure_tuple_rep(modality, len(self.keys))
        for one in filter(None, given):
            check_choice("modality", one, tuple(MODALITIES.values()))
        self.modality = [one or MODALITIES.get(str(key)) for key, one in zip(self.keys, given, strict=True)]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, modality in self.key_iterator(d, self.modality):
            image = d[key] if isinstance(d[key], MetaTensor) else read_volume(d[key], modality, d.get(series_key(key)))
            meta = {name: value for name, value in image.meta.items() if not isinstance(value, list)}
            for name in ("patient_id", "frame_of_reference", "modality"):
                meta[name] = str(meta.get(name) or "")
            image.meta = meta
            d[key] = image
        return d
