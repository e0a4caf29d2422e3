"""Write a fused volume as a DICOM series where its CT came from one."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from spinefuse_ext.data.writer import CaseLayout
from spinefuse_ext.enums import CaseKeys, series_key
from spinefuse_ext.images.kind import is_dicom
from spinefuse_ext.validation import ConfigError, SourceError

logger = logging.getLogger(__name__)


class SaveFusedSeriesd(MapTransform):
    """Write ``(1, X, Y, Z)`` in [0, 1] as DICOM series by :func:`~spinefuse_ext.dicom.write_fused`; data unchanged.

    It lies on the series that the case names under ``source_key``, else on the DICOM folder or file that the CT was
    read from, and refers to the MR too where that was DICOM; ``series_ct`` and ``series_mr`` say which of several
    series of a folder these were. A case with neither gets none. A series without UIDs, as
    some anonymisers leave it, cannot be referred to: a warning in the log, unless the case names its series.

    Args:
        keys: of fused volumes, one key.
        folder_layout: names the folder after the case; its extension is empty.
        mr_key: of the MR, whose ``meta`` says where it was read from.
        source_key: of the path of the DICOM series.
        allow_missing_keys: do nothing for a case without the key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        folder_layout: CaseLayout,
        mr_key: str = CaseKeys.MR,
        source_key: str = CaseKeys.DICOM,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"Expected one key, as there is one series for a case, got {list(self.keys)}.")
        self.folder_layout, self.mr_key, self.source_key = folder_layout, str(mr_key), str(source_key)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            ct, mr, named = _path(d[key]), _path(d.get(self.mr_key)), d.get(self.source_key)
            source = named or _if_dicom(ct)
            own = self.source_key if named else CaseKeys.CT
            series, mr_series = (d.get(series_key(each)) for each in (own, self.mr_key))
            if source is None:
                continue
            from spinefuse_ext.dicom.write_fused import write_fused  # needs packages that NIfTI does not

            folder = Path(self.folder_layout.filename(ct or "case"))
            try:
                write_fused(d[key], source, folder, mr=_if_dicom(mr), series=series, mr_series=mr_series)
            except SourceError as error:
                if named:
                    raise
                logger.warning("%s: no DICOM series was written. %s", folder.parent, error)
        return d


def _path(image: Any) -> str:
    """Where an image was read from; empty for none."""
    return str(getattr(image, "meta", {}).get(ImageMetaKey.FILENAME_OR_OBJ, ""))


def _if_dicom(path: str) -> str | None:
    return path if path and is_dicom(path) else None
