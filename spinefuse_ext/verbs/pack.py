"""Pack a bundle for release: one zip that runs with MONAI alone, its checksum, and MONAI's list of releases."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser

from spinefuse_ext import __version__
from spinefuse_ext.files import atomic_write
from spinefuse_ext.networks.weights import fitting_weights
from spinefuse_ext.validation import ConfigError, PackError, WeightsError, check_exists
from spinefuse_ext.verbs.archive import PACKAGE, WEIGHTS, released_files, write_archive
from spinefuse_ext.verbs.doctor import check_bundle
from spinefuse_ext.verbs.paths import BUNDLES, find_bundle

logger = logging.getLogger(__name__)

MODEL_INFO = "model_info.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Release(NamedTuple):
    """A bundle that may be released: its name and version, and the content of its archive by path."""

    name: str
    version: str
    files: dict[str, bytes]

    @property
    def title(self) -> str:
        """What MONAI calls it: the name of the archive without its ending."""
        return f"{self.name}_v{self.version}"


def pack(
    *bundles: str,
    out: str | Path = "dist",
    checkpoint: str | Path | None = None,
    repo: str | None = None,
    without_weights: bool = False,
) -> None:
    """Write ``OUT/NAME_vVERSION.zip`` and ``OUT/NAME-VERSION.sha256``: ``spinefuse pack [fusion|semiseg|FOLDER ...]``.

    The archive holds the bundle with its weights and the package that is running; equal content gives equal bytes.
    ``monai.bundle download`` takes it from a release on GitHub, a URL or a file.

    Args:
        bundles: tasks or bundle folders; both bundles when none is given. Nothing is written unless all can be packed.
        out: folder to write to.
        checkpoint: weights of the one bundle that is packed; ``models/model.pt`` in its folder by default.
        repo: ``OWNER/REPO/TAG`` of the release on GitHub; adds the bundles to ``OUT/model_info.json``, by which MONAI
            finds the newest version.
        without_weights: leave the weights out: who downloads such a bundle has to train it.

    Raises:
        PackError: the bundle is not whole, its version or name cannot be released, or it holds another version of
            the package.
        WeightsError: the weights do not fit ``network_def`` of ``inference.json``.
        ConfigError: an option that cannot be used.
    """
    folders = [_folder(bundle) for bundle in bundles or BUNDLES]
    if checkpoint is not None and (len(folders) != 1 or without_weights):
        raise ConfigError(
            "--checkpoint needs exactly one bundle, packed with weights; name it, or leave the option out."
        )
    host = None if repo is None else _host(repo)
    paths = [None if without_weights else _weights_path(folder, checkpoint) for folder in folders]
    releases = [_release(folder, path) for folder, path in zip(folders, paths, strict=True)]
    for release in releases:
        _write(release, Path(out), host)


def _folder(bundle: str) -> Path:
    return find_bundle(bundle) if bundle in BUNDLES else check_exists(bundle, "The bundle").absolute()


def _host(repo: str) -> str:
    parts = str(repo).split("/")
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"--repo must be OWNER/REPO/TAG, as in `monai.bundle download`, got {repo}.")
    owner, name, tag = parts
    return f"https://github.com/{owner}/{name}/releases/download/{tag}"


def _weights_path(folder: Path, checkpoint: str | Path | None) -> Path:
    path = folder / WEIGHTS if checkpoint is None else check_exists(checkpoint, "The checkpoint")
    if not path.exists():
        raise PackError(
            f"{folder} has no {WEIGHTS}; put trained weights there, name them by --checkpoint, or give "
            "--without_weights to pack a bundle that has to be trained first."
        )
    return path


def _release(folder: Path, weights: Path | None) -> Release:
    """Check everything and return what is to be written."""
    findings = check_bundle(folder)
    if findings:
        raise PackError(f"{folder} is not whole: {'; '.join(findings)}.")
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    version = str(metadata["version"])
    _check_name(folder, version)
    _check_package(folder, metadata)
    files = released_files(folder)
    if weights is not None:
        files[WEIGHTS] = _plain_weights(folder, weights)
    return Release(folder.name, version, files)


def _check_name(folder: Path, version: str) -> None:
    if re.search(r"_v.", folder.name):
        raise PackError(f"The bundle {folder.name} needs a name without `_v`, by which MONAI divides name and version.")
    if not _VERSION.fullmatch(version):
        raise PackError(
            f"{folder}: the version {version} in metadata.json must be three numbers with dots between them."
        )
    if any(int(number) > 9 for number in version.split(".")):
        logger.warning(
            "%s: MONAI compares versions as text, so it takes %s for older than 0.9.0; users must name the version.",
            folder.name,
            version,
        )


def _check_package(folder: Path, metadata: dict[str, Any]) -> None:
    """Refuse a bundle made for another version of the package than the one that would be put in."""
    found = {"metadata.json": metadata.get("required_packages_version", {}).get("spinefuse", __version__)}
    copy = folder / PACKAGE / "__init__.py"
    if copy.is_file():
        stated = re.search(r'^__version__ = "(.*)"$', copy.read_text(encoding="utf-8"), re.MULTILINE)
        found[f"its folder {PACKAGE}"] = stated[1] if stated else "unknown"
    for place, version in found.items():
        if version != __version__:
            raise PackError(
                f"{folder}: {place} says version {version} of spinefuse, but {__version__} is running and would be "
                "packed; make both the same."
            )


def _plain_weights(folder: Path, path: Path) -> bytes:
    """The weights alone, on the CPU, as a file of ``torch.save``; equal weights give equal bytes."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser.update({"bundle_root": str(folder), "checkpoint": None})
    state = fitting_weights(parser.get_parsed_content("network_def"), path)
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{path} holds weights that are not finite, {broken[0]} for example; train again.")
    buffer = io.BytesIO()
    torch.save({name: state[name].detach().cpu().clone().contiguous() for name in sorted(state)}, buffer)
    return buffer.getvalue()


def _write(release: Release, out: Path, host: str | None) -> None:
    path = out / f"{release.title}.zip"
    before = _digest(path, "sha256") if path.is_file() else None
    with atomic_write(path) as temporary:
        write_archive(temporary, release.files, release.name)
    checksum = _digest(path, "sha256")
    # without the _v of the archive: in a list of release files MONAI would take it for a bundle
    with atomic_write(out / f"{release.name}-{release.version}.sha256") as temporary:
        temporary.write_text(f"{checksum}  {path.name}\n", encoding="utf-8")
    if host is not None:
        _list_release(out / MODEL_INFO, release, {"checksum": _digest(path, "sha1"), "source": f"{host}/{path.name}"})
    what = "with weights" if WEIGHTS in release.files else "WITHOUT WEIGHTS: train it before use"
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {what}, SHA-256 {checksum}\n")
    if before not in (None, checksum):
        logger.warning("%s replaces one of other content; if that was released, raise the version.", path.name)


def _list_release(path: Path, release: Release, entry: dict[str, str]) -> None:
    """Add ``entry`` to the list that MONAI looks for at ``models/model_info.json`` of the release's git tag."""
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(known, dict):
            raise TypeError("no dictionary")
    except (ValueError, TypeError) as error:
        raise PackError(f"{path} is no list of releases ({error}); delete it, and pack every bundle again.") from error
    with atomic_write(path) as temporary:
        text = json.dumps({**known, release.title: entry}, indent=4, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")


def _digest(path: Path, algorithm: str) -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()
