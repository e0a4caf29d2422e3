"""The config files of a run: found, read once, and merged left to right, as MONAI does it; nothing is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from spinefuse_ext.validation import ConfigError, check_exists


def config_files(bundle: Path, configs: Sequence[str]) -> list[str]:
    """Return the paths of configs of ``bundle``, or of files of one's own.

    Raises:
        MissingPathError: one that is neither.
    """
    files = [str(path if Path(path).is_file() else bundle / "configs" / path) for path in configs]
    for path in files:
        check_exists(path, "The config file")
    return files


def read_config(file: str | Path) -> dict[str, Any]:
    """Return what a config file holds; a file that did not change since is not read again."""
    path = Path(file).absolute()
    state = path.stat()
    return deepcopy(_read(path, state.st_mtime_ns, state.st_size, state.st_ino))


@lru_cache(maxsize=64)
def _read(path: Path, *_: int) -> dict[str, Any]:
    return ConfigParser.load_config_file(path)


class _Parser(ConfigParser):
    """MONAI's parser, which takes files from :func:`read_config`."""

    @classmethod
    def load_config_file(cls, filepath: Any, **kwargs: Any) -> dict[str, Any]:
        return read_config(filepath)


def merged_configs(files: Sequence[str]) -> ConfigParser:
    """Return the configs merged left to right, as a run reads them."""
    parser = _Parser()
    parser.read_config(list(files))
    return parser


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


def bundle_config(bundle: Path, files: Sequence[str], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The configs of a bundle merged left to right, and overrides applied, as a bundle run would; nothing is built."""
    parser = merged_configs([str(check_exists(bundle / "configs" / file, "The config file")) for file in files])
    parser.update({"bundle_root": str(bundle), **deepcopy(dict(overrides or {}))})
    config: dict[str, Any] = parser.get()
    return {name: value for name, value in config.items() if name != "_meta_"}
