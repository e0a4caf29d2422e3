"""A run as the ``python -m monai.bundle run`` command that does the same, for a shell and for a process of its own."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue

from spinefuse_ext.option_names import RUN_OPTIONS
from spinefuse_ext.runs.configs import check_places, config_files
from spinefuse_ext.runs.overrides import check_overrides
from spinefuse_ext.runs.settings import config_value


def check_settings(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse what the run of ``configs`` would be refused for, before anything is built.

    Raises:
        MissingPathError: a config that is not there.
        ConfigError: an override that no config has a place for or that would be ignored.
    """
    settings = {name: value for name, value in overrides.items() if name not in RUN_OPTIONS}
    merged = check_places(config_files(bundle, configs), {"bundle_root": str(bundle), **settings})
    check_overrides(merged.get(), bundle / "configs")


def bundle_command(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> list[str]:
    """Return the ``python -m monai.bundle run`` command for configs of ``bundle`` with overrides by config id.

    Texts among the overrides arrive as they are, whatever signs they hold; those that begin with ``$``, ``@`` or ``%``
    are expressions of a config.

    Raises:
        MissingPathError: a config that is not there.
        ConfigError: an override that no config has a place for or that would be ignored.
    """
    check_settings(bundle, configs, overrides)
    files = config_files(bundle, configs)
    listed = files[0] if len(files) == 1 else str(files)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", listed]
    for name, value in workflow_values(bundle, overrides).items():
        command += [f"--{name}", _spelled(value)]
    return command


def shell_line(command: Sequence[str]) -> str:
    """A command of Python as one line for a shell."""
    return shlex.join(["python", *command[1:]])


def workflow_values(bundle: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of a run with its ``bundle_root``, such that MONAI's parser gives back each value as it is."""
    values = {"bundle_root": str(bundle), **overrides}
    # MONAI leaves an override out that is None, and would take what the config holds
    return {name: "$None" if value is None else config_value(value) for name, value in values.items()}


def _spelled(value: Any) -> str:
    """A value as the command line reads it back: plain text, JSON, or as Python writes it (True, None)."""
    if isinstance(value, str) and not value.startswith("-") and DefaultParseValue(value) == value:
        return value
    text = json.dumps(value)
    return text if DefaultParseValue(text) == value else repr(value)
