"""What an item calls the files of its registration, and the keys under which transforms know them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from spinefuse_ext.enums import RegistrationKeys
from spinefuse_ext.validation import DatalistError

#: The names of these files in items, requests and options. The keys themselves are read too, as items have had them.
REGISTRATION_NAMES: dict[str, RegistrationKeys] = {
    "ct_landmarks": RegistrationKeys.LANDMARKS_CT,
    "mr_landmarks": RegistrationKeys.LANDMARKS_MR,
    "transform": RegistrationKeys.TRANSFORM,
    "vertebrae": RegistrationKeys.VERTEBRAE,
}
_NAMES = {str(key): name for name, key in REGISTRATION_NAMES.items()}


def item_key(name: Hashable) -> Hashable:
    """Return the key of the file that an item calls ``name``: ``landmarks_ct`` for ``ct_landmarks``."""
    return str(REGISTRATION_NAMES[name]) if isinstance(name, str) and name in REGISTRATION_NAMES else name


def item_name(key: Hashable) -> str:
    """Return what an item calls the file under ``key``: ``ct_landmarks`` for ``landmarks_ct``."""
    return _NAMES.get(str(key), str(key))


def by_key(item: Mapping[Any, Any], what: str = "The case") -> dict[Any, Any]:
    """Return the entries of an item by their keys; ``what`` begins the sentence of an error.

    Raises:
        DatalistError: it names a file by the key and by the name, and not the same one.
    """
    found = {key: value for key, value in item.items() if item_key(key) == key}
    for name, value in item.items():
        key = item_key(name)
        if key != name and found.get(key) not in (None, "", value):
            raise DatalistError(f"{what} names {name} and {key}, which are one thing; leave {key} out.")
        if key != name and (value or key not in found):
            found[key] = value
    return found
