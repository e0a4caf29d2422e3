"""Settings from a command line as config values: read by what the config holds there, and safe from MONAI's parser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from monai.bundle.utils import EXPR_KEY, ID_REF_KEY, MACRO_KEY

from spinefuse_ext.arguments import read_flag, read_integer, read_number
from spinefuse_ext.validation import ConfigError

#: Settings that are text although the configs hold an expression or nothing there.
_PATHS = {"bundle_root", "cache_dir", "checkpoint", "ckpt_dir", "datalist", "dataset_dir", "output_dir", "resume"}
#: What MONAI takes for more than text: the first sign of an expression, a reference, a macro.
_MARKS = (EXPR_KEY, ID_REF_KEY, MACRO_KEY)
#: MONAI writes every ``#`` as ``::`` and looks for ids after these signs, wherever they stand in a text.
_CHANGED = re.compile(r"#|[@%]::")


def typed_settings(config: ConfigParser, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read each setting that is text as the kind of value that ``config`` holds under its id.

    What is no text is left alone, and so is a text that MONAI shall evaluate (``$...``, ``@id``, ``%id``). Where the
    config holds text, or a path belongs, text stays as it is. True under ``noNAME`` is False under ``NAME``.

    Raises:
        ConfigError: a text that cannot be read as what belongs there.
    """
    read = {}
    for name, value in settings.items():
        if value is True and name.startswith("no") and name not in config and name[2:] in config:
            name, value = name[2:], False
        read[name] = _typed(name, value, config) if isinstance(value, str) else value
    return read


def config_value(value: Any) -> Any:
    """Return ``value`` so that MONAI's parser gives back each text in it as it is, signs such as ``#`` included.

    A text with a first sign that stands for an expression, a reference or a macro is meant as such and stays.
    """
    if isinstance(value, Mapping):
        return {name: config_value(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [config_value(one) for one in value]
    if isinstance(value, str) and not value.startswith(_MARKS) and _CHANGED.search(value):
        return literal(value)
    return value


def literal(text: str) -> str:
    """The expression of a config whose value is ``text``, written without the signs that MONAI's parser looks for."""
    written = repr(text)
    for sign in "#@%":
        written = written.replace(sign, f"\\x{ord(sign):02x}")
    return f"{EXPR_KEY}{written}"


def _typed(name: str, text: str, config: ConfigParser) -> Any:
    known = config.get(name)
    if name in _PATHS or (isinstance(known, str) and not known.startswith(_MARKS)):
        return _text(text, known, config)
    if text.startswith(_MARKS):
        return text
    try:
        return _value(text, known, exact="#" not in name and "::" not in name)
    except ValueError as error:
        raise ConfigError(f"The setting {name} takes {error}.") from error


def _text(text: str, known: Any, config: ConfigParser) -> Any:
    """A text that is no number; ``None`` where the config may hold none, and what MONAI shall find."""
    if text == "None" and (known is None or "None" in str(known)):
        return None
    refers = text.startswith((ID_REF_KEY, MACRO_KEY)) and text[1:] not in config
    return literal(text) if refers else text


def _value(text: str, known: Any, *, exact: bool) -> Any:
    """A value of the kind of ``known``; ``exact`` keeps whole numbers whole."""
    if text == "None":
        return None
    if isinstance(known, bool):
        return read_flag(text)
    if isinstance(known, int) and exact:
        return read_integer(text)
    if isinstance(known, (int, float)):
        return _number(text)
    value = _parsed(text)
    return _listed(value, known, text) if isinstance(known, list) else value


def _parsed(text: str) -> Any:
    """What JSON says, so that a part of a config file may be typed as it stands there; else a value of Python."""
    if text.startswith(("{", "[")):
        with suppress(ValueError):
            return json.loads(text)
    return DefaultParseValue(text)


def _number(text: str) -> float:
    value = DefaultParseValue(text)
    return value if isinstance(value, int) and not isinstance(value, bool) else read_number(text)


def _listed(value: Any, known: list[Any], text: str) -> Any:
    """A list; one name alone where the config lists names."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if known and all(isinstance(one, str) for one in known):
        return [text]
    raise ValueError(f"a list such as {known}, got {text}")
