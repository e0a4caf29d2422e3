"""From the one image that a server hands over to all that a bundle needs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from spinefuse_ext.data.find_case_files import (
    find_case_image,
    find_in_folder,
    find_named,
    find_registration,
    image_word,
)
from spinefuse_ext.data.item_keys import by_key
from spinefuse_ext.enums import MODALITIES, CaseKeys, RegistrationKeys
from spinefuse_ext.formats import header_of
from spinefuse_ext.images.kind import is_archive
from spinefuse_ext.images.nifti import stored_shape
from spinefuse_ext.validation import ImageReadError, MissingPathError, check_exists
from spinefuse_ext.volumes.volume import read_channels


class FindImagesd(MapTransform):
    """Give a case that names only ``image``, as those of MONAI Label do, the paths of all its images.

    The rules are those of :mod:`spinefuse_ext.data.find_case_files`. ``image`` is the file of its own word (``ct``,
    ``mr``, ``fused``), or of the first key when its name has none; the others stand beside it. A key that the case
    has is a path, or the name of a file beside ``image``. ``image`` may also be a folder that holds one case, a ZIP
    archive or a DICOMDIR of a whole study, or, for two keys, a NIfTI file of two channels on one grid, CT and MR. A
    case with all its keys, or without ``image``, stays as it is.

    Args:
        keys: of the images that are needed; the first gives the grid.
        registration: also look for landmarks and a transform beside CT and MR, unless the case names some.
        image_key: of the path that a server gives.

    Raises:
        MissingPathError: from a call, when an image is not found.
        ImageReadError: from a call, when several fit.
    """

    def __init__(self, keys: KeysCollection, *, registration: bool = False, image_key: str = CaseKeys.IMAGE) -> None:
        super().__init__(keys)
        self.registration, self.image_key = registration, str(image_key)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = by_key(data)
        image = d.get(self.image_key)
        missing = [str(key) for key in self.keys if not d.get(key)]
        if not isinstance(image, (str, Path)) or not missing:
            return d
        path = check_exists(image, "The image")
        if len(missing) == len(self.keys) == 2 and _channels(path) == 2:
            d.update(zip(self.keys, read_channels(path, [MODALITIES.get(str(key)) for key in self.keys]), strict=True))
            return d
        if len(self.keys) == 1 and _channels(path) > 1:
            raise ImageReadError(
                f"{path} has {_channels(path)} channels, one is needed; a pair of CT and MR goes to spine_fusion first."
            )
        for key in self.keys:
            if d.get(key):
                d[key] = str(find_named(d[key], path, str(key)))
        d.update({key: str(found) for key, found in self._found(path, missing).items()})
        if self.registration and not any(d.get(str(key)) for key in RegistrationKeys):
            d.update(find_registration(d[CaseKeys.CT], d[CaseKeys.MR]))
        return d

    def _found(self, path: Path, missing: list[str]) -> dict[str, Path]:
        if path.is_dir():
            return find_in_folder(path, missing)
        own = image_word(path) or str(self.keys[0])
        return {key: path if key == own else _case_image(path, key) for key in missing}


def _case_image(path: Path, key: str) -> Path:
    try:
        return find_case_image(path, key)
    except MissingPathError as error:
        if image_word(path) is None and _is_study(path):
            return path  # the reader picks the series
        if key != CaseKeys.FUSED:
            raise
        raise MissingPathError(f"{error} The bundle spine_fusion makes it.") from error


def _is_study(path: Path) -> bool:
    """Whether a file stands for a folder of DICOM, which may hold every image of a patient."""
    from spinefuse_ext.dicom_files.read_file import is_directory_file  # needs packages that NIfTI does not

    return is_archive(path) or is_directory_file(path)


def _channels(path: Path) -> int:
    """Channels of a NIfTI file, 1 for every other."""
    shape = stored_shape(header_of(path)) if path.is_file() else None
    return shape[-1] if shape is not None and len(shape) > 3 else 1  # the reader says what is wrong with a damaged one
