"""Where a verb finds its bundle and its files: the paths of a command line, checked and made absolute."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from spinefuse_ext.validation import ConfigError, check_exists

_INSTALLED = "share/spinefuse/bundles"  # as setup.cfg has it
BUNDLES = {"fusion": "spine_fusion", "semiseg": "spine_semiseg"}


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
    places = [Path.cwd() / "bundles", Path(__file__).absolute().parents[2] / "bundles", *installed_bundles()]
    found = next((place / BUNDLES[task] for place in places if (place / BUNDLES[task]).is_dir()), None)
    if found is None:
        raise ConfigError(f"The bundle {BUNDLES[task]} is not in {' nor '.join(map(str, places))}; give --bundle PATH.")
    return found


def installed_bundles() -> list[Path]:
    """The folder of bundles that pip installed with the package, if it did (an editable install has none)."""
    places = [Path(__file__).absolute().parents[2] / _INSTALLED]  # of `pip install --target`, whose record is wrong
    with suppress(PackageNotFoundError):
        files = distribution("spinefuse").files or ()
        metadata = (file for file in files if file.match(f"{_INSTALLED}/*/configs/metadata.json"))
        places += [Path(str(file.locate())).resolve().parents[2] for file in metadata]
    return list(dict.fromkeys(place for place in places if place.is_dir()))


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
