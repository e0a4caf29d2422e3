"""The studies of a server: which images are cases, and which MR belongs to a CT."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import Datastore

from spinefuse_ext.data.find_case_files import find_registration, image_word
from spinefuse_ext.enums import CaseKeys, RegistrationKeys
from spinefuse_ext.formats import SEGMENTATION_SUFFIXES, SENT_IMAGES, SENT_LABELS, image_stem, is_system_name
from spinefuse_ext.monai_label.places import check_ending, check_inside
from spinefuse_ext.printable import printable
from spinefuse_ext.validation import ImageReadError, LandmarkError, MissingPathError, check_plain_name

logger = logging.getLogger(__name__)


class _InsideStore(LocalDatastore):
    """A store that writes nowhere but into its own folders, and there nothing but images and labels.

    Raises:
        ConfigError: a name with a way to another folder, or a file of another kind.
    """

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        endings = [*SENT_IMAGES, *(pattern.lstrip("*") for pattern in self._extensions)]
        ending = check_ending(image_filename, endings, "an image")
        check_inside(self._datastore.image_path(), image_id + ending if image_id else Path(image_filename).name)
        return str(super().add_image(image_id, image_filename, image_info))

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], *rest: Any
    ) -> str:
        ending = check_ending(label_filename, SENT_LABELS, "a label")
        check_plain_name(str(getattr(label_tag, "value", label_tag)), "The tag of a label")
        check_inside(self._datastore.label_path(label_tag), image_id + ending)
        return str(super().save_label(image_id, label_filename, label_tag, label_info, *rest))


class CaseDatastore(_InsideStore):
    """MONAI Label's folder of images, in which an MR or a fused volume beside CTs is no case of its own.

    Such images can be asked for, but are not offered for labelling, counted, or run in a batch; neither is what a
    system put there (``._ct.nii.gz``). A segmentation of 3D Slicer, ``case.seg.nrrd``, is a label of ``case``.
    """

    def _to_id(self, file: str) -> tuple[str, str]:
        ending = next((ending for ending in SEGMENTATION_SUFFIXES if file.endswith(ending)), None)
        if ending is None:
            name, extension = super()._to_id(file)
            return str(name), str(extension)
        return file.removesuffix(ending), ending

    def list_images(self) -> list[str]:
        return _cases(super().list_images())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        cases = set(self.list_images())
        return [image for image in super().get_labeled_images(label_tag, labels) if image in cases]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        cases = set(self.list_images())
        return [image for image in super().get_unlabeled_images(label_tag, labels) if image in cases]


class SeriesDatastore(_InsideStore, DICOMWebDatastore):
    """MONAI Label's cache of a DICOMweb server, which is asked for nothing but UIDs of series."""

    def get_image_uri(self, image_id: str) -> str:
        return str(super().get_image_uri(_uid(image_id)))

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        check_plain_name(str(getattr(label_tag, "value", label_tag)), "The tag of a label")
        return str(super().get_label_uri(_uid(label_id), label_tag, image_id and _uid(image_id)))


def _uid(name: str) -> str:
    if not re.fullmatch(r"[0-9.]{1,64}", name) or ".." in name:
        raise MissingPathError(f"{printable(name, keep='')!r} is no SeriesInstanceUID; ask for a series by its UID.")
    return name


def missing_images(request: Mapping[str, Any], store: Datastore) -> dict[str, Any]:
    """Return what a request lacks: the path of its MR where names in a folder do not tell it.

    ``mr`` in the request may be the id of an image of the store. In a DICOMweb store, where every series has a folder
    of its own, it is the one MR series of the CT's study.

    Raises:
        MissingPathError: the study has no MR.
        ImageReadError: it has several; name one by ``mr``.
        LandmarkError: headers of CT and MR do not share a space, and the request names nothing that joins them.
    """
    named, image = request.get(CaseKeys.MR), request.get(CaseKeys.IMAGE)
    known = not isinstance(image, str) or Path(image).exists() or image in store.list_images()
    if not known and not store.get_image_uri(image):
        raise MissingPathError(f"The studies have no image {image}; ask for one that they have.")
    is_path = isinstance(named, str) and bool(named) and Path(named).exists()
    if named and not is_path and not isinstance(store, DICOMWebDatastore):
        return {str(CaseKeys.MR): store.get_image_uri(named) or named}
    if is_path or not isinstance(store, DICOMWebDatastore) or not isinstance(image, str) or Path(image).exists():
        return {}
    ct, mr = (_stored(store, series) for series in (image, named or _mr_series(store, image)))
    if not any(request.get(str(key)) for key in RegistrationKeys) and not find_registration(ct, mr):
        _check_frames((ct, mr))
    return {str(CaseKeys.MR): mr}


def _stored(store: DICOMWebDatastore, series: str) -> str:
    """The file of a series in the cache; the first answer of MONAI Label 0.8.5 is a temporary one."""
    store.get_image_uri(series)
    return str(store.get_image_uri(series))


def _cases(images: Iterable[str]) -> list[str]:
    images = [image for image in images if not is_system_name(image)]
    words = {image: image_word(image) for image in images}
    hidden = {CaseKeys.MR, CaseKeys.FUSED} if CaseKeys.CT in words.values() else set()
    return [image for image in images if words[image] not in hidden]


def _mr_series(store: DICOMWebDatastore, ct: str) -> str:
    """The UID of the MR series in the study of a CT series."""
    found = store._client.search_for_series(search_filters={"SeriesInstanceUID": ct})
    studies = {_value(item, "StudyInstanceUID") for item in found if _value(item, "SeriesInstanceUID") == ct}
    series = [
        item
        for study in studies
        for item in store._client.search_for_series(search_filters={"StudyInstanceUID": study, "Modality": "MR"})
        if _value(item, "Modality") == "MR"
    ]
    if not series:
        raise MissingPathError(
            f"The study of the CT series {ct} has no MR series; name one by the request parameter 'mr'."
        )
    if len(series) > 1:
        listed = ", ".join(
            f"{_value(item, 'SeriesInstanceUID')} ({_value(item, 'SeriesDescription')})" for item in series
        )
        raise ImageReadError(
            f"The study of the CT series {ct} has {len(series)} MR series; name one by the request parameter 'mr': "
            f"{listed}."
        )
    return _value(series[0], "SeriesInstanceUID")


def _value(item: Mapping[str, Any], keyword: str) -> str:
    dataset = pydicom.Dataset.from_json(dict(item))
    return str(dataset.get(keyword, ""))


def _check_frames(images: Sequence[str]) -> None:
    """Raise where the DICOM files behind two images, kept in a folder beside each, name two frames of reference."""
    frames = []
    for image in images:
        folder = Path(image).with_name(image_stem(image))
        file = next(iter(sorted(folder.glob("*.dcm"))), None) if folder.is_dir() else None
        header = pydicom.dcmread(file, stop_before_pixels=True) if file else pydicom.Dataset()
        frames.append(str(header.get("FrameOfReferenceUID", "")))
    if all(frames) and len(set(frames)) > 1:
        raise LandmarkError(
            "CT and MR have different FrameOfReferenceUIDs, so their headers do not say how they lie to each other; "
            "give ct_landmarks and mr_landmarks, or transform, as request parameters: paths of files on the server. "
            "For every request, put them as SERIES_landmarks.mrk.json, by SeriesInstanceUID, into "
            f"{Path(images[0]).parent}."
        )
