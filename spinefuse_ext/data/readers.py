"""The image readers of MONAI that this machine can use."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from spinefuse_ext.packages import installed, missing_sentence
from spinefuse_ext.validation import MissingPackageError

logger = logging.getLogger(__name__)

_PACKAGES = {"ITKReader": "itk", "NibabelReader": "nibabel", "PydicomReader": "pydicom", "NrrdReader": "nrrd"}


def installed_readers(names: Sequence[str]) -> list[str]:
    """Return those of MONAI's readers ``names`` whose package is installed, in their order.

    ``LoadImage`` refuses a name whose package is missing, even when another reader would read the file. What is left
    out is logged.

    Raises:
        MissingPackageError: none is left.
    """
    missing = {name: _PACKAGES[name] for name in names if name in _PACKAGES and not installed(_PACKAGES[name])}
    sentences = [missing_sentence(package, name) for name, package in missing.items()]
    if sentences and len(missing) == len(names):
        raise MissingPackageError(sentences[-1])
    for sentence in sentences:
        logger.info("%s Files that no other reader knows cannot be read.", sentence)
    return [name for name in names if name not in missing]
