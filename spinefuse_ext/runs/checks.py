"""The first ``initialize`` step of both bundles: refuse a run that cannot do what was asked, in one sentence."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from monai.bundle import ConfigParser

from spinefuse_ext import plain_errors
from spinefuse_ext.runs.overrides import check_overrides
from spinefuse_ext.validation import ConfigError, check_interval

logger = logging.getLogger(__name__)

#: Whether the run that is being initialised in this process had its settings checked before it was begun.
_CHECKED: ContextVar[bool] = ContextVar("settings were checked", default=False)


@contextmanager
def settings_checked() -> Iterator[None]:
    """While this lasts, :func:`check_run` does not look for settings that no config defines; whoever calls did it."""
    token = _CHECKED.set(True)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def check_run(
    bundle_root: str | Path,
    settings: dict[str, object] | None = None,
    *,
    spatial_dims: int | None = None,
    multiple_of: int = 1,
    intervals: dict[str, Sequence[float]] | None = None,
) -> None:
    """Check the settings of the bundle run that evaluates this call, before anything is built.

    Used in JSON as ``{"_target_": "spinefuse_ext.runs.check_run", "bundle_root": "@bundle_root"}``. Under
    ``python -m monai.bundle`` it also turns later bad-input errors into one line with exit status 2.

    Args:
        bundle_root: folder of the bundle, with ``configs`` in it.
        settings: numbers that must be positive, by name; a list is a size in voxels and must be positive throughout.
        spatial_dims: how many numbers each size must have.
        multiple_of: what each number of a size must be a multiple of, for networks that halve it several times.
        intervals: settings that are a lower and a higher number, by name.

    Raises:
        ConfigError: a setting that no config defines, a value out of range, or a wrong ``bundle_root``.
    """
    if plain_errors.runs_as_bundle_command():
        plain_errors.install()
    configs_dir = Path(bundle_root) / "configs"
    if not configs_dir.is_dir() and _federated_client_calls():
        return  # it runs `initialize` once before it says where the bundle is, and once more after that
    if not configs_dir.is_dir():
        raise ConfigError(
            f"bundle_root {bundle_root} has no folder configs; run from the bundle's folder or give --bundle_root PATH."
        )
    if not _CHECKED.get() and (parser := _calling_parser()) is not None:
        check_overrides(parser.get(), configs_dir)
    for name, value in (settings or {}).items():
        _check_positive(name, value, spatial_dims, multiple_of)
    for name, ends in (intervals or {}).items():
        check_interval(name, ends)
    _tell_unvalidated(settings or {})


def _tell_unvalidated(settings: dict[str, object]) -> None:
    """Say that a training too short for a validation chooses no best weights."""
    epochs, interval = settings.get("epochs"), settings.get("val_interval")
    if isinstance(epochs, int) and isinstance(interval, int) and epochs < interval:
        logger.warning(
            "%d epochs are fewer than val_interval %d, so nothing is validated: model_final.pt is written, and no "
            "model.pt.",
            *(epochs, interval),
        )


def _check_positive(name: str, value: object, spatial_dims: int | None, multiple_of: int) -> None:
    sizes = value if isinstance(value, Sequence) and not isinstance(value, str) else None
    if not all(isinstance(number, (int, float)) and number > 0 for number in sizes or [value]):
        raise ConfigError(f"The setting {name} must be positive, got {value}.")
    if sizes is not None:
        _check_size(name, sizes, spatial_dims, multiple_of)


def _check_size(name: str, size: Sequence[int], spatial_dims: int | None, multiple_of: int) -> None:
    if spatial_dims is not None and len(size) != spatial_dims:
        raise ConfigError(
            f"The setting {name} needs {spatial_dims} numbers for a {spatial_dims}-D network, got {size}."
        )
    if any(number % multiple_of for number in size):
        raise ConfigError(f"Each number of the setting {name} must be a multiple of {multiple_of}, got {size}.")


def _calling_parser() -> ConfigParser | None:
    """The parser whose ``initialize`` entry is being evaluated; MONAI hands expressions no reference to it."""
    return next((owner for owner in _callers() if isinstance(owner, ConfigParser)), None)


def _federated_client_calls() -> bool:
    """Whether MONAI's federated client is among the callers."""
    client = getattr(sys.modules.get("monai.fl.client"), "BaseClient", None)  # not imported: nobody else could call
    return client is not None and any(isinstance(owner, client) for owner in _callers())


def _callers() -> Iterator[object]:
    """The objects whose methods are being run, innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_locals.get("self")
        frame = frame.f_back
