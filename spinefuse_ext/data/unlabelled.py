"""The unlabelled stream of a training: from a datalist, or all that lies beside the labelled images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from spinefuse_ext.data.datalist import load_datalist
from spinefuse_ext.data.find_case_files import image_word
from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.formats import is_image_file
from spinefuse_ext.validation import DatalistError, check_exists

logger = logging.getLogger(__name__)


def load_unlabelled(  # noqa: PLR0913 (all keyword-only but two)
    datalist: str | Path,
    keys: Sequence[str],
    *,
    labelled: Sequence[Sequence[Mapping[str, Any]]],
    folder: str | Path = "",
    sections: Sequence[str] = (Section.UNLABELLED,),
    base_dir: str | Path = ".",
    repeat: int = 1,
    optional: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return the unlabelled items: of a datalist's ``sections``, or of a folder of images.

    MONAI Label puts ``{"image": path, "label": path}`` in the place of the labelled cases, and has no place for
    unlabelled ones. When ``labelled`` holds such items, every other image of ``folder`` is unlabelled; each is
    ``{"image": path}``. The MR beside a CT is no case of its own. When every image has a
    label, the labelled ones serve, without it.

    Args:
        datalist: as for :func:`~spinefuse_ext.data.load_datalist`, which reads it.
        keys: what an item of the datalist must have.
        labelled: the items of the labelled stream, then those of validation, which training must not see.
        folder: of images; that of the labelled ones when empty.
        sections: of the datalist.
        base_dir: folder that paths of the datalist start from.
        repeat: how often each item appears in the result.
        optional: keys that an item of the datalist may have.

    Raises:
        MissingPathError: the folder, the datalist or a file in it does not exist.
        DatalistError: as from ``load_datalist``; or ``folder`` holds no image.
    """
    given = [
        str(item[CaseKeys.IMAGE]) for item in labelled[0] if CaseKeys.PATIENT not in item and CaseKeys.IMAGE in item
    ]
    if not given:
        return load_datalist(datalist, sections, keys, base_dir=base_dir, repeat=repeat, optional=optional)
    place = check_exists(folder or Path(given[0]).parent, "The folder of unlabelled images (unlabelled_dir)")
    images = case_images(place)
    if not images:
        raise DatalistError(f"{place} holds no image; name a folder of images by unlabelled_dir.")
    used = {_real(item[CaseKeys.IMAGE]) for item in chain(*labelled) if CaseKeys.IMAGE in item}
    unused = [str(path) for path in images if _real(path) not in used]
    if not unused:
        logger.info("Every image of %s has a label: the labelled ones serve as unlabelled too.", place)
    return [{str(CaseKeys.IMAGE): path} for path in unused or given] * repeat


def case_images(folder: str | Path) -> list[Path]:
    """Return the images of a folder that are cases of their own: not an MR or a fused volume beside its CT."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and is_image_file(path))
    words = {image_word(path) for path in files}
    hidden = {CaseKeys.MR, CaseKeys.FUSED} if CaseKeys.CT in words else set()
    return [path for path in files if image_word(path) not in hidden]


def _real(path: str | Path) -> Path:
    return Path(path).resolve()
