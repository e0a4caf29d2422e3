"""The note a finished case leaves in its folder, by which a later run knows that it need not be done again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinefuse_ext import __version__
from spinefuse_ext.cohort.fingerprint import fingerprint
from spinefuse_ext.formats import data_paths
from spinefuse_ext.label_files.label_names import name_files
from spinefuse_ext.names import on_disk
from spinefuse_ext.registration.case import CT_FILE, FIELD_FILE, MR_FILE, REPORT_FILE, TRANSFORM_FILE
from spinefuse_ext.validation import CohortError

LABEL_FILE = "label.nii.gz"
STRIP_FILE = "strip.jpg"
RECORD_FILE = "prepare.json"
#: All that a case's folder may hold without being someone else's.
FILES = {CT_FILE, MR_FILE, TRANSFORM_FILE, FIELD_FILE, REPORT_FILE, LABEL_FILE, STRIP_FILE, RECORD_FILE}
#: Raised when cases done by an earlier version must be done again.
_FORMAT = 2


@dataclass(frozen=True)
class Job:
    """What one case is made from and where it goes.

    ``spelled`` maps ``ct``, ``mr`` and what else the row names to paths as the table in ``root`` writes them.
    ``options`` are those of ``register_case`` that are no paths.
    """

    name: str
    root: Path
    folder: Path
    spelled: Mapping[str, str]
    options: Mapping[str, Any]

    @property
    def inputs(self) -> dict[str, Path]:
        """The paths as this process finds them."""
        paths = {role: self.root / path for role, path in self.spelled.items()}
        return {role: on_disk(path) or path for role, path in paths.items()}

    def key(self) -> dict[str, Any]:
        """What the result depends on: settings, the state of every input, and tables of names beside the label."""
        inputs = {role: {"path": self.spelled[role], "state": fingerprint(path)} for role, path in self.inputs.items()}
        tables = name_files(self.inputs["label"]) if "label" in self.inputs else []
        names = [{"name": table.name, "state": fingerprint(table)} for table in tables]
        return {"format": _FORMAT, "settings": dict(self.options), "inputs": inputs, "label_names": names}


def write_record(folder: Path, key: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write ``prepare.json``: the key, what was measured, and the size of every file beside it."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    content = {**key, "spinefuse": __version__, **found, "outputs": sizes}
    text = json.dumps(content, indent=4, allow_nan=False, ensure_ascii=False)
    (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")


def finished(job: Job, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the record of a case that was done from the same inputs with the same settings and is whole, else None."""
    try:
        record = json.loads((job.folder / RECORD_FILE).read_text(encoding="utf-8"))
        same = all(record[part] == value for part, value in json.loads(json.dumps(key)).items())
        whole = all((job.folder / name).stat().st_size == size for name, size in record["outputs"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if same and whole else None


def check_replaceable(folder: Path) -> None:
    """Raise ``CohortError`` when a case that must be done again has files that somebody else put beside it."""
    held = data_paths(folder.iterdir()) if folder.is_dir() else ()
    foreign = sorted(path.name for path in held if path.name not in FILES)
    if foreign:
        raise CohortError(
            f"The case changed, but {folder} holds files made from the earlier pair ({', '.join(foreign[:3])}); "
            "move or delete them and run again."
        )


def drop(folder: Path) -> None:
    """Remove what a failed case left: half-made folders, and the outputs of an earlier run, which no longer hold.

    A folder with files of somebody else stays as it is.
    """
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    if folder.is_dir() and not any(path.name not in FILES for path in data_paths(folder.iterdir())):
        shutil.rmtree(folder)
