"""Where a verb finds its bundle and its files: the paths of a command line, checked and made absolute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spinefuse_ext.bundle_places import BUNDLES, bundle_places, installed_bundles
from spinefuse_ext.validation import ConfigError, check_exists

__all__ = ["BUNDLES", "absolute", "existing", "find_bundle", "installed_bundles", "listed", "weights_path"]


def find_bundle(task: str, bundle: str | Path | None = None) -> Path:
    """Return the folder of the bundle for ``task`` (``fusion`` or ``semiseg``), or ``bundle`` when given.

    Raises:
        ConfigError: unknown task, or no bundle in ``./bundles``, beside the package, or in what pip installed.
        MissingPathError: ``bundle`` does not exist.
    """
    if bundle is not None:
        return check_exists(bundle, "The bundle").absolute()
    if task not in BUNDLES:
        raise ConfigError(f"Unknown task {task}; choose one of {', '.join(BUNDLES)}.")
    places = bundle_places()
    found = next((place / BUNDLES[task] for place in places if (place / BUNDLES[task]).is_dir()), None)
    if found is None:
        raise ConfigError(f"The bundle {BUNDLES[task]} is not in {' nor '.join(map(str, places))}; give --bundle PATH.")
    return found


def weights_path(checkpoint: str | None, bundle: Path) -> str:
    """The path of ``checkpoint``, or of the weights that the bundle holds; either must be there."""
    if checkpoint is not None:
        return existing(checkpoint, "The checkpoint")
    return existing(str(bundle / "models" / "model.pt"), "No --checkpoint was given, and the bundle's own file")


def listed(delta: str | Sequence[str]) -> list[str]:
    """One name or several as a list."""
    return [delta] if isinstance(delta, str) else list(delta)


def absolute(*parts: str) -> str:
    """A path of these parts, as text."""
    return str(Path(*map(str, parts)).absolute())


def existing(path: str, what: str) -> str:
    """The absolute path of ``what``, which must be there."""
    return str(check_exists(path, what).absolute())
