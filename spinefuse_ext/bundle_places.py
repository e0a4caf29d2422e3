"""The folders that may hold the bundles."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_INSTALLED = "share/spinefuse/bundles"  # as setup.cfg has it
BUNDLES = {"fusion": "spine_fusion", "semiseg": "spine_semiseg"}


def bundle_places() -> list[Path]:
    """``./bundles``, that beside the package, and what pip installed, in this order; not all of them need exist."""
    return [Path.cwd() / "bundles", Path(__file__).absolute().parents[1] / "bundles", *installed_bundles()]


def installed_bundles() -> list[Path]:
    """The folder of bundles that pip installed with the package, if it did (an editable install has none)."""
    places = [Path(__file__).absolute().parents[1] / _INSTALLED]  # of `pip install --target`, whose record is wrong
    with suppress(PackageNotFoundError):
        files = distribution("spinefuse").files or ()
        metadata = (file for file in files if file.match(f"{_INSTALLED}/*/configs/metadata.json"))
        places += [Path(str(file.locate())).resolve().parents[2] for file in metadata]
    return list(dict.fromkeys(place for place in places if place.is_dir()))
