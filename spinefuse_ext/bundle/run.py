"""One run of a bundle as a command that is printed, checked before it starts, and passes on its status."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from spinefuse_ext.bundle.overrides import check_overrides
from spinefuse_ext.bundle.settings import config_value, typed_settings
from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.validation import ConfigError, check_exists

#: What ``monai.bundle run`` takes beside overrides.
_RUN_OPTIONS = ("run_id", "init_id", "final_id", "meta_file", "logging_file", "tracking", "args_file")


@dataclass(frozen=True)
class BundleRun:
    """One bundle run: the bundle, its configs, the settings of the verb and those that a person typed."""

    bundle: Path
    configs: Sequence[str]
    own: Mapping[str, Any]
    typed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """All overrides by config id; what was typed is read as the kind of value that the configs hold."""
        files = config_files(self.bundle, self.configs)
        return {**self.own, **typed_settings(merged_configs(files), self.typed)}

    @property
    def image_keys(self) -> list[str]:
        """Keys of the images that the network sees, by the configs and what was typed."""
        configured = merged_configs(config_files(self.bundle, self.configs)).get("image_keys", [CaseKeys.FUSED])
        keys = self.settings.get("image_keys", configured)
        return [str(key) for key in keys] if isinstance(keys, list) else [str(keys)]

    def check(self) -> None:
        """Raise an error for a config or a setting that the run would be refused for."""
        bundle_command(self.bundle, self.configs, self.settings)

    def start(self) -> None:
        """Run it, as :func:`run_bundle`."""
        run_bundle(self.bundle, self.configs, self.settings)


def bundle_command(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> list[str]:
    """Return the ``python -m monai.bundle run`` command for configs of ``bundle`` with overrides by config id.

    Texts among the overrides arrive as they are, whatever signs they hold; those that begin with ``$``, ``@`` or ``%``
    are expressions of a config.

    Raises:
        MissingPathError: a config that is not there.
        ConfigError: an override that no config has a place for or that would be ignored.
    """
    files = config_files(bundle, configs)
    values = {"bundle_root": str(bundle), **overrides}
    settings = {name: value for name, value in values.items() if name not in _RUN_OPTIONS}
    check_overrides(check_places(files, settings).get(), bundle / "configs")
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        files[0] if len(files) == 1 else str(files),
    ]
    for name, value in values.items():
        # MONAI leaves an override out that is None, and would take what the config holds
        command += [f"--{name}", "$None" if value is None else _spelled(config_value(value))]
    return command


def config_files(bundle: Path, configs: Sequence[str]) -> list[str]:
    """Return the paths of configs of ``bundle``, or of files of one's own.

    Raises:
        MissingPathError: one that is neither.
    """
    files = [str(path if Path(path).is_file() else bundle / "configs" / path) for path in configs]
    for path in files:
        check_exists(path, "The config file")
    return files


def _spelled(value: Any) -> str:
    """A value as the command line reads it back: plain text, JSON, or as Python writes it (True, None)."""
    if isinstance(value, str) and not value.startswith("-") and DefaultParseValue(value) == value:
        return value
    text = json.dumps(value)
    return text if DefaultParseValue(text) == value else repr(value)


def run_bundle(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> str:
    """Print the bundle command, run it, and return it as one line for a shell.

    Raises:
        SystemExit: with the status of the command, when it fails; it has said why.
    """
    command = bundle_command(bundle, configs, overrides)
    line = shlex.join(["python", *command[1:]])
    sys.stdout.write(f"$ {line}\n")
    sys.stdout.flush()
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(status)
    return line


def check_places(files: Sequence[str], values: Mapping[str, Any]) -> ConfigParser:
    """Return the merged configs with the overrides in them.

    Raise ``ConfigError`` for an override below an entry that no file has; MONAI would fail with a bare KeyError.
    """
    parser = merged_configs(files)
    for name, value in values.items():
        parent = name.rpartition("#")[0]
        if parent and parent not in parser:
            raise ConfigError(f"No config defines {parent}, so the setting {name} has no place. Check the spelling.")
        parser[name] = deepcopy(value)  # what a later override may go into
    return parser


def merged_configs(files: Sequence[str]) -> ConfigParser:
    """Return the configs merged left to right, as a run reads them; nothing is built."""
    parser = ConfigParser()
    parser.read_config(list(files))
    return parser
