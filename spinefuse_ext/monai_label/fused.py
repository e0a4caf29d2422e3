"""Fused volumes of a server's cases, made once for each state of images, landmarks and weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spinefuse_ext.enums import CaseKeys, RegistrationKeys
from spinefuse_ext.files import atomic_write
from spinefuse_ext.transforms import FindImagesd
from spinefuse_ext.validation import check_exists

PAIR = (str(CaseKeys.CT), str(CaseKeys.MR))
#: Settings of a request that change the fused volume.
SETTINGS = ("registration_model", "registration_refine", "model_filename")


class FusedVolumes:
    """The fused volume of a request, from a folder of those that were made before.

    Args:
        fuse: makes one: takes a request, returns the path of a file and a dictionary.
        weights: checkpoint of the network.
        folder: of the volumes; one stays for each CT.
    """

    def __init__(self, fuse: Callable[[dict[str, Any]], tuple[str, Any]], weights: Path, folder: Path) -> None:
        self.fuse, self.weights, self.folder = fuse, weights, folder
        self.find = FindImagesd(PAIR, registration=True)

    def of(self, request: Mapping[str, Any]) -> Path:
        """Return the fused volume of the pair that ``request`` names by ``image``, and by ``mr`` and more where given.

        Raises:
            SpinefuseError: no pair is found, or it cannot be registered or fused.
        """
        target = self._target(request)
        if not target.is_file():
            file, _ = self.fuse({**request, "result_extension": ".nii.gz", "result_dtype": None})
            with atomic_write(target) as temporary:
                shutil.move(file, temporary)
            for old in target.parent.glob(f"{target.name.partition('-')[0]}-*.nii.gz"):
                if old != target:
                    old.unlink(missing_ok=True)
        return target

    def _target(self, request: Mapping[str, Any]) -> Path:
        names = (CaseKeys.IMAGE, *PAIR, *RegistrationKeys)
        case = self.find({str(name): request[name] for name in names if request.get(name)})
        files = {str(name): case[name] for name in names if isinstance(case.get(name), (str, Path))}
        state: dict[str, Any] = {name: _stamp(check_exists(path, f"The {name}")) for name, path in files.items()}
        state |= {"weights": _stamp(self.weights)}
        state |= {name: str(request[name]) for name in SETTINGS if request.get(name)}
        image = str(files.get(CaseKeys.CT, files[CaseKeys.IMAGE]))
        return self.folder / f"{_short(image)}-{_short(json.dumps(state, sort_keys=True))}.nii.gz"


def _stamp(path: Path) -> list[Any]:
    about = path.stat()
    return [str(path), about.st_mtime_ns, about.st_size]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
