"""Where a bundle's volumes go, and how they get there whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.data import NibabelWriter
from monai.data.folder_layout import FolderLayoutBase

from spinefuse_ext.files import atomic_write

logger = logging.getLogger(__name__)


class CaseLayout(FolderLayoutBase):
    """Name outputs ``output_dir/<case folder relative to data_root_dir>/<name><extension>``.

    A case that lies outside ``data_root_dir`` gets the name of its own folder, so nothing leaves ``output_dir``.

    Args:
        output_dir: where outputs go.
        name: file name without extension, for example ``fused``.
        data_root_dir: folder that holds the case folders.
        extension: of the file.
    """

    def __init__(
        self, output_dir: str | Path, name: str, data_root_dir: str | Path = ".", extension: str = ".nii.gz"
    ) -> None:
        self.output_dir = Path(output_dir)
        self.name = name
        self.data_root_dir = Path(data_root_dir)
        self.extension = extension

    def filename(self, subject: str | os.PathLike[str] = "", **_: Any) -> str:
        folder = Path(subject).absolute().parent
        relative = Path(os.path.relpath(folder, self.data_root_dir.absolute()))
        case = Path(folder.name) if relative.parts[:1] == ("..",) else relative
        return str(self.output_dir / case / f"{self.name}{self.extension}")


class AtomicNibabelWriter(NibabelWriter):
    """MONAI's NIfTI writer, writing under a temporary name and renaming, so that no half-written volume is left.

    A volume that is not resampled keeps its three axes: MONAI 1.6 drops the third of a single slice, and takes a
    volume without a note about its channel for a picture, which fails when the axes are swapped.
    """

    def set_data_array(
        self,
        data_array: Any,
        channel_dim: int | None = 0,
        squeeze_end_dims: bool = True,
        **kwargs: Any,
    ) -> None:
        super().set_data_array(data_array, channel_dim, False, **kwargs)
        if squeeze_end_dims and self.data_obj.ndim == 4 and self.data_obj.shape[-1] == 1:
            self.data_obj = self.data_obj[..., 0]

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, resample: bool = True, **options: Any) -> None:
        if resample:
            super().set_metadata(meta_dict, resample, **options)
        else:
            self.affine = self.get_meta_info(meta_dict)[1]

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **kwargs: Any) -> None:
        with atomic_write(os.fspath(filename)) as temporary:
            super().write(temporary, verbose=False, **kwargs)
        if verbose:
            logger.info("wrote %s", os.fspath(filename))
