"""The unlabelled stream: endless, reshuffled each pass, and refusing labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.utils import CommonKeys, ImageMetaKey
from torch.utils.data.distributed import DistributedSampler

from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.validation import DatalistError, ImageReadError


def endless(loader: Iterable[Any], first_pass: int = 0) -> Iterator[Any]:
    """Yield the loader's batches pass after pass, telling a distributed sampler the number of each pass.

    Raises:
        DatalistError: when a pass yields nothing.
    """
    number = first_pass
    while True:
        sampler = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(number)
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise DatalistError(
                f"Expected at least one batch of {Section.UNLABELLED} cases, got none. Add cases to that section, "
                "lower the batch size, or set unlabelled_data_loader to null for supervised training."
            )
        number += 1


def loader_length(loader: Iterable[Any]) -> int | None:
    """Batches of one pass, None when the loader cannot tell."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_no_label(batch: Any) -> None:
    """Raise ``DatalistError`` naming the cases when an unlabelled batch carries a label."""
    if isinstance(batch, Mapping) and CommonKeys.LABEL in batch:
        raise DatalistError(
            f"Expected {Section.UNLABELLED} cases without a '{CommonKeys.LABEL}' key, got one for "
            f"{case_names(batch)}. Remove the key, or move the case to '{Section.LABELLED}'."
        )
    if isinstance(batch, (tuple, list)):
        raise DatalistError(
            f"Expected {Section.UNLABELLED} batches as a tensor or a dictionary with '{CommonKeys.IMAGE}', got "
            f"{len(batch)} items, as an (image, label) pair has. Deliver the image alone."
        )


def check_finite(batch: Any) -> None:
    """Raise ``ImageReadError`` naming the cases when an image of the batch holds NaN or infinity.

    One such image would spoil the running statistics of every batch norm for good.
    """
    image = batch[CommonKeys.IMAGE] if isinstance(batch, Mapping) else batch
    image = image[0] if isinstance(image, (tuple, list)) else image
    if not bool(torch.isfinite(image).all()):
        raise ImageReadError(
            f"Expected finite intensities, got NaN or infinity in {case_names(batch)}. Check the files and the "
            "intensity scaling of the preprocessing."
        )


def case_names(batch: Any) -> str:
    """Patients of a batch, else the files its image came from, else ``a batch without names``."""
    if isinstance(batch, Mapping):
        image = batch.get(CommonKeys.IMAGE)
        names = batch.get(CaseKeys.PATIENT)
        if names is None and isinstance(image, MetaTensor):
            names = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ)
        if names is not None:
            return names if isinstance(names, str) else ", ".join(dict.fromkeys(str(name) for name in names))
    return "a batch without names"
