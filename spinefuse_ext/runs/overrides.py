"""Find settings that no config defines: MONAI accepts a misspelt override silently and then ignores it."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from spinefuse_ext.runs.configs import read_config
from spinefuse_ext.validation import UnknownSettingError

_REFERENCE = re.compile(r"[@%](\w+)")
_TRACKING: Mapping[str, Mapping[str, Any]] = DEFAULT_EXP_MGMT_SETTINGS
_LISTED = 15  # names that a sentence can hold
_IDS_PAGE = "docs/reference/config-ids.md lists the settings."
_COMPLETE = ("train.json", "inference.json")
_FREE = {"_meta_", "output_dir", "save_execute_config", "displayable_configs"}


def check_overrides(config: Mapping[str, Any], configs_dir: Path) -> None:
    """Raise ``UnknownSettingError`` with the nearest right name for a setting in ``config`` that cannot have an effect.

    ``config`` is a parsed, merged configuration with overrides applied. A setting counts as known when a file in
    ``configs_dir`` defines it, when another entry refers to it, or when it names a parameter of the component that it
    stands in. A component may join others that stand together by names of one's choice, as metrics do.
    """
    files = sorted(configs_dir.glob("*.json"), key=lambda path: (path.name not in _COMPLETE, path.name))
    complete = [path for path in files if path.name in _COMPLETE]
    try:
        _check_all(config, complete)  # most settings stand there
    except UnknownSettingError:
        _check_all(config, [path for path in files if path.name != "metadata.json"])


def _check_all(config: Mapping[str, Any], files: Iterable[Path]) -> None:
    """Raise unless each setting of ``config`` has a place in one of ``files``."""
    defined: dict[str, Any] = {}
    for path in files:
        for key, value in read_config(path).items():
            _merge(defined, key.lstrip("+").replace("#", "::").split("::"), value)
    tracked = {key for settings in _TRACKING.values() for key in settings["configs"]}
    allowed = _FREE | tracked | set(_REFERENCE.findall(str(dict(config))))
    for key, value in config.items():
        if key in allowed and key not in defined:
            continue
        _check(key, value, defined, ())


def _merge(defined: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        child = defined.setdefault(part, {})
        if not isinstance(child, dict):
            return  # a list position or a value that another file replaces: its parent is known, that is enough
        defined = child
    known = defined.get(parts[-1])
    if parts[-1] == "_target_" and known is not None:
        return  # a delta that puts another component in the same place: its own parameters count, see _check
    if isinstance(known, dict) and isinstance(value, dict):
        if _target(value) not in (None, _target(known)):
            return  # a delta that replaces the component of a complete config: see _check
        for key, inner in value.items():
            _merge(defined[parts[-1]], [key], inner)
    else:
        defined[parts[-1]] = dict(value) if isinstance(value, dict) else value


def _check(key: str, value: Any, defined: Mapping[str, Any], parents: tuple[str, ...]) -> None:
    if key not in defined:
        names = _names(defined)
        if names is not None and key not in names and not (parents and _joins_components(value, defined)):
            raise _unknown(key, names, parents)
        return
    known = defined[key]
    if not isinstance(value, Mapping) or not isinstance(known, Mapping):
        return
    if _target(value) is not None and _target(value) != _target(known):
        known = {"_target_": _target(value)}  # not the component of the complete configs: its own parameters count
    if _target(value) == _target(known):
        for inner_key, inner in value.items():
            _check(inner_key, inner, known, (*parents, key))


def _joins_components(value: Any, defined: Mapping[str, Any]) -> bool:
    """Whether a component is added to others that are there by names of one's choice, such as metrics."""
    components = [isinstance(one, Mapping) and _target(one) is not None for one in (value, *defined.values())]
    return len(components) > 1 and all(components)


def _target(content: Mapping[str, Any]) -> Any:
    return content.get("_target_")


def _names(defined: Mapping[str, Any]) -> Collection[str] | None:
    """The names allowed in a place: its keys, plus parameters for a component; None when anything goes."""
    target = defined.get("_target_")
    if target is None:
        return list(defined)
    parameters = _parameters(str(target))
    return None if parameters is None else [*defined, *parameters, "_disabled_", "_requires_", "_desc_", "_mode_"]


def _parameters(target: str) -> list[str] | None:
    """Parameters of a component; those of its base classes too while ``**kwargs`` hands on; None when anything goes."""
    found = ComponentLocator().get_component_module_name(target)
    module = found[0] if isinstance(found, list) else found
    component: Any = locate(f"{module}.{target}" if module else target)
    if component is None:
        return None
    makers = [vars(kind).get("__init__") for kind in component.__mro__] if isinstance(component, type) else [component]
    names: list[str] = []
    for maker in filter(None, makers):
        parameters = inspect.signature(maker).parameters
        names += parameters
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return names
    return None


def _unknown(key: str, names: Collection[str], parents: tuple[str, ...]) -> UnknownSettingError:
    path = "#".join((*parents, key))
    near = next(("#".join((*parents, name)) for name in difflib.get_close_matches(key, names, n=1)), None)
    listed = f"Known here: {', '.join(sorted(names))}." if len(names) <= _LISTED else _IDS_PAGE
    hint = f"Did you mean {near}?" if near else listed
    return UnknownSettingError(f"No config defines the setting {path}, so it would be ignored. {hint}", path, near)
