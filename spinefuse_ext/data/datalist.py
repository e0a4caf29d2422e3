"""Datalists: which patient's files belong to which section, and the guard that keeps patients apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinefuse_ext.data.item_keys import by_key, item_key, item_name
from spinefuse_ext.enums import CaseKeys, Section, series_key
from spinefuse_ext.names import normal_form
from spinefuse_ext.validation import DatalistError, check_exists


def load_datalist(
    datalist: str | Path,
    sections: Sequence[str],
    keys: Sequence[str],
    *,
    optional: Sequence[str] = (),
    base_dir: str | Path = ".",
    repeat: int = 1,
    halves: bool = False,
) -> list[dict[str, Any]]:
    """Read the items of some sections of a datalist, each as ``{"patient": name, key: absolute path, ...}``.

    Only ``keys`` and ``optional`` ones are taken from an item: asking for images alone gives items without a label key,
    which is what the unlabelled stream needs. Beside a DICOM folder ``ct``, ``series_ct`` may say which series of it is
    meant. Every section of the file is checked for patients that stand in two.

    Args:
        datalist: JSON file as MONAI's decathlon lists, with sections of :class:`~spinefuse_ext.enums.Section`.
        sections: the sections to read, in this order.
        keys: what an item must have, for example ``["ct", "mr"]``.
        optional: what is taken too from the items that have it, for example ``["ct_landmarks", "mr_landmarks"]``; the
            result has the files of a registration under :class:`~spinefuse_ext.enums.RegistrationKeys`.
        base_dir: folder that relative paths in the file start from. A relative ``datalist`` is looked for here first.
        repeat: how often each item appears in the result, for several random crops of each case per epoch.
        halves: also give each item ``half``, 0 or 1 in turn from patient to patient, for methods that teach two
            networks with different patients.

    Raises:
        MissingPathError: the datalist, the folder or a file named in the list does not exist.
        DatalistError: unreadable file, unknown or empty sections, missing keys, a patient in two sections, or a single
            patient for two halves.
    """
    base_dir = check_exists(base_dir, "The dataset folder (dataset_dir)").absolute()
    path = base_dir / datalist if (base_dir / datalist).is_file() else check_exists(datalist, "The datalist")
    content = _read(path)
    check_patients_apart(content, path)
    unknown = sorted(set(sections) - set(content))
    if unknown:
        raise DatalistError(f"{path} has no section {', '.join(unknown)}; it has {', '.join(sorted(content))}.")
    wanted, further = ([str(item_key(key)) for key in each] for each in (keys, optional))
    items = [_item(entry, wanted, further, path, base_dir) for section in sections for entry in content[section]]
    if not items:
        raise DatalistError(f"{path}: the sections {', '.join(sections)} are empty; add at least one case.")
    if halves:
        _assign_halves(items, f"{path}: the sections {', '.join(sections)}")
    return items * repeat


def check_patients_apart(content: dict[str, Any], source: str | Path) -> None:
    """Raise ``DatalistError`` naming a patient that stands in two sections of ``content``."""
    seen: dict[str, str] = {}
    for section in (str(member) for member in Section):
        for patient in {normal_form(str(item[CaseKeys.PATIENT])) for item in content.get(section, [])}:
            if patient in seen:
                raise DatalistError(
                    f"{source}: patient {patient} is in the sections {seen[patient]} and {section}; "
                    "a patient may stand in one section only, or the scores measure memory. Remove one."
                )
            seen[patient] = section


def _assign_halves(items: list[dict[str, Any]], source: str) -> None:
    """Write ``half`` into each item: patients in turn, all items of one patient in one half."""
    order = {patient: number for number, patient in enumerate(dict.fromkeys(item[CaseKeys.PATIENT] for item in items))}
    if len(order) < 2:
        raise DatalistError(f"{source} hold one patient, {next(iter(order))}, but two halves need two; add another.")
    for item in items:
        item[str(CaseKeys.HALF)] = order[item[CaseKeys.PATIENT]] % 2


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DatalistError(f"{path} is not a JSON file ({error}); write it with `spinefuse datalist`.") from error
    if not isinstance(content, dict):
        raise DatalistError(f"{path}: expected sections by name at the top, got a {type(content).__name__}.")
    for name, entries in content.items():
        if name in set(Section) and not (
            isinstance(entries, list) and all(isinstance(item, dict) and CaseKeys.PATIENT in item for item in entries)
        ):
            raise DatalistError(f"{path}: section {name} must be a list of items that each have the key 'patient'.")
    return content


def _item(
    entry: dict[str, Any], keys: Sequence[str], optional: Sequence[str], source: Path, base_dir: Path
) -> dict[str, str]:
    patient = normal_form(str(entry[CaseKeys.PATIENT]))
    item = {str(CaseKeys.PATIENT): patient}
    entry = by_key(entry, f"{source}: patient {patient}")
    for key in (*keys, *(key for key in optional if key in entry)):
        name = item_name(key)
        if key not in entry:
            has = ", ".join(sorted(map(item_name, set(entry) - {CaseKeys.PATIENT}))) or "nothing"
            raise DatalistError(f"{source}: patient {patient} has no '{name}' (it has {has}); add the path.")
        if not isinstance(entry[key], str):
            raise DatalistError(f"{source}: the {name} of patient {patient} must be a path, got {entry[key]!r}.")
        item[key] = str(check_exists(base_dir / entry[key], f"{source}: the {name} of patient {patient}"))
        if series_key(key) in entry:
            item[series_key(key)] = _series(entry[series_key(key)], f"{source}: {series_key(key)} of patient {patient}")
    return item


def _series(name: Any, what: str) -> str:
    """The number, description or UID of a series as text."""
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise DatalistError(f"{what} must be the number, description or UID of a series, got {name!r}.")
    return str(name)
