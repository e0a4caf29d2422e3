"""Where a client may write: into the folders of the store, and nothing but images and labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spinefuse_ext.validation import ConfigError, check_plain_name


def check_inside(folder: str | Path, name: str) -> Path:
    """Return the path of the file ``name`` in ``folder``.

    Raises:
        ConfigError: the name leads elsewhere, by itself or because a link of that name stands there.
    """
    path = Path(folder) / check_plain_name(name, "The name of an image")
    if path.resolve().parent != Path(folder).resolve():
        raise ConfigError(f"{path} leads out of the studies by a link, so nothing is written there; use another name.")
    return path


def check_ending(file: str | Path, endings: Iterable[str], what: str) -> str:
    """Return the ending of ``file`` among ``endings``; raise ``ConfigError`` for ``what`` of another kind."""
    endings = sorted(set(endings), key=len, reverse=True)
    name = Path(file).name
    found = next((ending for ending in endings if ending and name.lower().endswith(ending)), None)
    if found is None:
        raise ConfigError(
            f"A file {Path(file).suffix or 'without an ending'} is not {what}; send {', '.join(endings)}."
        )
    return found
