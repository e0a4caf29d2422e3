"""Write a prediction as DICOM SEG where its image came from a DICOM series."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from spinefuse_ext.data.writer import CaseLayout
from spinefuse_ext.enums import MODALITIES, CaseKeys, series_key
from spinefuse_ext.images.kind import is_dicom
from spinefuse_ext.validation import ConfigError, check_choice, check_names

logger = logging.getLogger(__name__)


class SaveSegd(MapTransform):
    """Write labels ``(1, X, Y, Z)`` as DICOM SEG by :func:`~spinefuse_ext.dicom.write_seg`; the data stay unchanged.

    The SEG refers to the series that the case names under ``source_key`` (of several series in that folder the one
    under ``series_dicom``), else to the one that the image was read from: ``meta["series_uid"]`` in its folder. A case
    with neither has no series to refer to, and gets none; nor does an empty prediction, which is a warning in the log.
    So is highdicom that is not installed, unless the case names its series.

    Args:
        keys: of labels, one key.
        labels: names of the classes, background first.
        folder_layout: names the file after the case; its extension is ``.dcm``.
        source_key: of the path of the DICOM series.
        modality: of the series that is meant where a folder that the case names holds several.
        allow_missing_keys: do nothing for a case without the key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        labels: Sequence[str],
        folder_layout: CaseLayout,
        source_key: str = CaseKeys.DICOM,
        modality: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"Expected one key, as there is one file for a case, got {list(self.keys)}.")
        if modality is not None:
            check_choice("modality", modality, tuple(MODALITIES.values()))
        self.structures = dict(enumerate(check_names("labels", labels)))
        self.folder_layout, self.source_key, self.modality = folder_layout, str(source_key), modality

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = str(d[key].meta.get(ImageMetaKey.FILENAME_OR_OBJ, "case"))
            source = d.get(self.source_key) or (image if is_dicom(image) else None)
            path = Path(self.folder_layout.filename(image))
            if source is None:
                continue
            if self.source_key not in d and find_spec("highdicom") is None:
                logger.warning(
                    "%s: no DICOM SEG was written, for highdicom is not installed; `pip install highdicom` brings it.",
                    path.parent,
                )
                continue
            if not (d[key] > 0).any():
                logger.warning("%s: no structure was found, so no DICOM SEG was written.", path.parent)
                continue
            from spinefuse_ext.dicom.write_seg import write_seg  # needs packages that NIfTI does not

            chosen = self._named(d, source) if self.source_key in d else _series_of(d[key])
            write_seg(d[key], source, path, structures=self.structures, **chosen)
        return d

    def _named(self, data: Mapping[Hashable, Any], source: str) -> dict[str, Any]:
        """The series that a case names: the modality that is meant, and which of several it is."""
        return {"modality": self._modality(source), "series": data.get(series_key(self.source_key))}

    def _modality(self, source: str) -> str | None:
        """The modality that is meant, unless the folder holds no such series."""
        from spinefuse_ext.dicom_files.archive import opened
        from spinefuse_ext.dicom_files.choose import series_at

        if self.modality is None:
            return None
        with opened(Path(source)) as place:
            held = {series.modality for series in series_at(place)[0]}
        return self.modality if self.modality in held else None


def _series_of(labels: MetaTensor) -> dict[str, Any]:
    """The series that the image of ``labels`` was read from, where ``ReadVolumed`` has read it."""
    uid = labels.meta.get("series_uid")
    return {"series": str(uid)} if uid else {}
