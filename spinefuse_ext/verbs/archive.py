"""Release archives: which files of a bundle go in, and a zip whose bytes depend on nothing else."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import spinefuse_ext
from spinefuse_ext.validation import PackError

#: Files of a bundle that are released, as patterns below its folder; all else stays out, above all images of patients.
RELEASED = (
    *("LICENSE", "large_files.yml", "large_files.yaml", "large_files.json"),
    *("configs/*.json", "configs/*.yaml", "configs/*.yml", "configs/*.conf"),
    "models/blend.pt",
    "models/selection.pt",
    *("docs/*.md", "docs/*.txt", "docs/*.png", "docs/*.svg", "docs/*.jpg"),
)
WEIGHTS = "models/model.pt"
PACKAGE = "spinefuse_ext"
_CACHES = {"__pycache__"}
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_UNIX = 3
_MODE = stat.S_IFREG | 0o644


def released_files(bundle: Path) -> dict[str, bytes]:
    """Return what a release of ``bundle`` holds but its weights, by path below its folder.

    These are the files of the bundle that ``RELEASED`` names, and the package that is running, as ``spinefuse_ext``.

    Raises:
        PackError: one of them is a link to a file elsewhere, which nobody meant to release.
    """
    package = Path(spinefuse_ext.__file__).parent
    own = {path.relative_to(bundle).as_posix(): path for pattern in RELEASED for path in bundle.glob(pattern)}
    for path in own.values():
        if not path.resolve().is_relative_to(bundle.resolve()):
            raise PackError(f"{path} is a link that leads out of the bundle; put the file itself there, or remove it.")
    code = {f"{PACKAGE}/{path.relative_to(package).as_posix()}": path for path in _code(package)}
    files = {name: path for name, path in {**own, **code}.items() if path.is_file() and not path.name.startswith(".")}
    return {name: path.read_bytes() for name, path in files.items()}


def _code(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in _CACHES or (path.is_dir() and path.name.startswith(".")):
            continue
        if path.is_dir():
            yield from _code(path)
        elif path.suffix not in (".pyc", ".pyo"):
            yield path


def write_archive(path: Path, files: Mapping[str, bytes], root: str) -> None:
    """Write ``files`` below the folder ``root`` into the zip ``path``: sorted, one time, one mode, not compressed.

    Compression would depend on the library at hand, and weights hardly shrink.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(f"{root}/{name}", _TIME)
            info.create_system = _UNIX
            info.external_attr = _MODE << 16
            archive.writestr(info, files[name])
