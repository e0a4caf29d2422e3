"""The first ``initialize`` step of both bundles: refuse a run that cannot do what was asked, in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from monai.bundle import ConfigParser

from spinefuse_ext.bundle import plain_errors
from spinefuse_ext.bundle.overrides import check_overrides
from spinefuse_ext.validation import ConfigError


def check_run(bundle_root: str | Path, settings: dict[str, object] | None = None) -> None:
    """Check the settings of the bundle run that evaluates this call, before anything is built.

    Used in JSON as ``{"_target_": "spinefuse_ext.bundle.check_run", "bundle_root": "@bundle_root"}``. Under
    ``python -m monai.bundle`` it also turns later bad-input errors into one line with exit status 2.

    Args:
        bundle_root: folder of the bundle, with ``configs`` in it.
        settings: numbers that must be positive, by name; an entry that is a list must be positive throughout.

    Raises:
        ConfigError: a setting that no config defines, a value out of range, or a wrong ``bundle_root``.
    """
    if plain_errors.runs_as_bundle_command():
        plain_errors.install()
    configs_dir = Path(bundle_root) / "configs"
    if not configs_dir.is_dir():
        raise ConfigError(
            f"bundle_root {bundle_root} has no folder configs; run from the bundle's folder or give --bundle_root PATH."
        )
    parser = _calling_parser()
    if parser is not None:
        check_overrides(parser.get(), configs_dir)
    for name, value in (settings or {}).items():
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not all(isinstance(number, (int, float)) and number > 0 for number in numbers):
            raise ConfigError(f"The setting {name} must be positive, got {value}.")


def _calling_parser() -> ConfigParser | None:
    """The parser whose ``initialize`` entry is being evaluated; MONAI hands expressions no reference to it."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
        frame = frame.f_back
    return None
