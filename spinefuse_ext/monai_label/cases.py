"""The cases of a data store as requests: each with what its image lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from spinefuse_ext.monai_label.store import missing_images
from spinefuse_ext.validation import SpinefuseError

logger = logging.getLogger(__name__)

T = TypeVar("T")


def case_request(image: str, store: Datastore) -> dict[str, Any]:
    """Return what a request on the image of that id needs, its path and its MR."""
    return {**missing_images({"image": image}, store), "image": store.get_image_uri(image)}


def each_case(images: Iterable[str], store: Datastore, do: Callable[[dict[str, Any]], T]) -> dict[str, T]:
    """Return what ``do`` makes of the request of each image; bad input of one is a warning and leaves it out."""
    done: dict[str, T] = {}
    for image in images:
        with _left_out(image):
            done[image] = do(case_request(image, store))
    return done


@contextmanager
def _left_out(image: str) -> Iterator[None]:
    try:
        yield
    except SpinefuseError as error:
        logger.warning("%s is left out: %s", image, error)


def labelled_files(store: Datastore) -> dict[str, str]:
    """Image id -> path of its final label, for every image that has one."""
    return {store._to_id(Path(item["image"]).name)[0]: str(item["label"]) for item in store.datalist()}


def label_names(image: str, store: Datastore) -> dict[int, str]:
    """Value -> name of the final label of an image, as the client said when it saved the label; empty if it did not.

    3D Slicer numbers its segments anew with every save, so that a value alone says nothing.
    """
    try:
        told = store.get_label_info(image, DefaultLabelTag.FINAL)
        listed = told.get("label_info") or told.get("params", {}).get("label_info") or []
        return {int(entry["idx"]): str(entry["name"]) for entry in listed}
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
        return {}
