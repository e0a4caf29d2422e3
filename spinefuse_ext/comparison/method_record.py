"""What a finished step of a comparison was made with, so that it is not made twice."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinefuse_ext.files import atomic_write, empty_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.validation import ConfigError

RECORD = "record.json"


@dataclass
class MethodRecord:
    """The settings of one method, and of each step that is done its seconds and its command; in ``record.json``."""

    folder: Path
    settings: Mapping[str, Any]
    steps_s: dict[str, float] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)

    def step(self, name: str, title: str, work: Callable[[], str | None]) -> None:
        """Do ``work`` and note that it is done, and the command it returns; what was done before is not repeated."""
        if name in self.steps_s:
            _say(f"=== {title}: done before, in {self.steps_s[name]} s")
            return
        _say(f"=== {title}")
        started = time.perf_counter()
        command = work()
        self.steps_s[name] = round(time.perf_counter() - started, 1)
        if command:
            self.commands[name] = command
        self._write()

    def _take_up(self, *, refuse: bool) -> bool:
        """Go on from what the folder holds, if it was made with the same settings; ``refuse`` results of others."""
        earlier = _read(self.folder / RECORD)
        if earlier["settings"] == self.settings:
            self.steps_s, self.commands = earlier["steps_s"], earlier["commands"]
            return True
        if earlier["steps_s"] and refuse:
            raise ConfigError(
                f"{self.folder} holds results of other settings: {_difference(earlier['settings'], self.settings)}. "
                "Give another folder with --out, or --redo True to make this method again."
            )
        return False

    def _write(self) -> None:
        with atomic_write(self.folder / RECORD) as path:
            content = {"steps_s": self.steps_s, "commands": self.commands, "settings": dict(self.settings)}
            path.write_text(json.dumps(content, indent=4), encoding="utf-8")


def open_record(folder: Path, settings: Mapping[str, Any], *, redo: bool = False) -> MethodRecord:
    """Open the record of a method, or begin one.

    Args:
        folder: the method's folder.
        settings: everything that decides the result, as JSON values by name.
        redo: delete what was made with other settings, instead of refusing.

    Raises:
        ConfigError: the folder holds results of other settings, or files that no comparison wrote.
    """
    record = MethodRecord(folder, json.loads(json.dumps(settings)))  # as it reads back: tuples become lists
    if folder.is_dir() and any(data_paths(folder.iterdir())):
        if record._take_up(refuse=not redo):
            return record
        empty_folder(folder)
    record._write()
    return record


def find_record(folder: Path, settings: Mapping[str, Any]) -> MethodRecord | None:
    """The record of a method that was begun with these settings, as :func:`open_record`; None when it was not begun.

    Nothing is written.

    Raises:
        ConfigError: the folder holds results of other settings, or files that no comparison wrote.
    """
    record = MethodRecord(folder, json.loads(json.dumps(settings)))
    begun = folder.is_dir() and any(data_paths(folder.iterdir()))
    return record if begun and record._take_up(refuse=True) else None


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(content[name]) for name in ("settings", "steps_s", "commands")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path.parent} is not empty and no comparison wrote it; give another --out.") from error


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any], shown: int = 3) -> str:
    names = [
        name for name in {**earlier, **now} if earlier.get(name) != now.get(name) or (name in earlier) != (name in now)
    ]
    told = [f"{name} was {earlier.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in names[:shown]]
    return "; ".join(told) + (f"; and {len(names) - shown} more" if len(names) > shown else "")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
