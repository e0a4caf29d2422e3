"""The guard on what comes from outside: a text that a MONAI config would read as more than itself is refused.

A config evaluates what starts with ``$``, replaces what starts with ``@`` or ``%``, and builds what has a ``_target_``.
Only config files and the command line may do so. Requests, datalists, landmark and DICOM texts, file names and table
cells pass :func:`check_literal` before they become a value of a config, or are handed over as :func:`unread`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from monai.bundle.config_item import ConfigComponent
from monai.bundle.utils import EXPR_KEY, ID_REF_KEY, ID_SEP_KEY, MACRO_KEY, MERGE_KEY

from spinefuse_ext.printable import printable
from spinefuse_ext.validation import ConfigError

_SIGNS = (EXPR_KEY, ID_REF_KEY, MACRO_KEY)
#: "@::x", "%#x": MONAI replaces these anywhere in a text, and takes "#" for "::".
_RELATIVE = re.compile(rf"[{re.escape(ID_REF_KEY + MACRO_KEY)}](?:#|{re.escape(ID_SEP_KEY)})")
_BUILDING = {str(key) for key in ConfigComponent.non_arg_keys}
_SHOWN = 60

T = TypeVar("T")


def is_literal(text: str) -> bool:
    """Tell whether a config leaves ``text`` alone but for ``#``: no expression, reference, macro or relative id.

    White space in front does not make it one, for what trims a text may stand between it and the config.
    """
    return not text.lstrip().startswith(_SIGNS) and not _RELATIVE.search(text)


def is_plain_name(text: str) -> bool:
    """Tell whether ``text`` as a key of a mapping is a name alone: nothing that builds, merges or reaches elsewhere."""
    special = text.strip() in _BUILDING or (text.startswith("_") and text.endswith("_"))
    return is_literal(text) and not special and not text.startswith(MERGE_KEY) and not {"#", ID_SEP_KEY} & _parts(text)


def check_literal(value: T, what: str) -> T:
    """Return ``value``, plain data of any depth, when a config would take it for what it says.

    Args:
        value: text, path, number, truth value or None, in lists and mappings.
        what: who gave it, as the beginning of the sentence, for example "The request".

    Raises:
        ConfigError: a text starts with ``$``, ``@`` or ``%``, a key would build something, or there is an object.
    """
    for key, inner in _each(value):
        if key is not None and not is_plain_name(str(key)):
            raise ConfigError(f"{what} has the name {_shown(key)}, which means something else in a config; rename it.")
        if isinstance(inner, (str, Path)) and not is_literal(str(inner)):
            raise ConfigError(
                f"{what} says {_shown(inner)}, which a config would evaluate; a value from outside must not start with "
                "$, @ or %, nor hold @# or %#."
            )
        if not isinstance(inner, (str, Path, int, float, Mapping, list, tuple, set, frozenset, type(None))):
            raise ConfigError(f"{what} holds {_shown(type(inner).__name__)}, where text and numbers are expected.")
    return value


def unread(items: Iterable[T]) -> tuple[T, ...]:
    """Return ``items`` in a form that a config hands on without reading it, so that any file name stays what it is.

    MONAI's parser looks into dictionaries, lists and texts; a tuple is an object to it.
    """
    return tuple(items)


def _each(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in ``value`` with its key, None where it has none; without recursion, for depth may be hostile."""
    waiting: list[tuple[Any, Any]] = [(None, value)]
    while waiting:
        key, current = waiting.pop()
        yield key, current
        if isinstance(current, Mapping):
            waiting.extend(current.items())
        elif isinstance(current, Collection) and not isinstance(current, (str, bytes)):
            waiting.extend((None, inner) for inner in current)


def _parts(text: str) -> set[str]:
    return {sign for sign in ("#", ID_SEP_KEY) if sign in text}


def _shown(value: object) -> str:
    text = printable(str(value), keep="")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
