"""Where the bundles of a label server come from: a folder, an archive, a release on GitHub, or any address."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from monai.bundle import ConfigParser, download

from spinefuse_ext.files import atomic_folder, atomic_write
from spinefuse_ext.handlers.checkpoints import save_whole, stored_devices
from spinefuse_ext.monai_label.checksums import NONE, beside, verify
from spinefuse_ext.networks.weights import fitting_weights
from spinefuse_ext.safe_load import load_plain
from spinefuse_ext.unpack import unpack
from spinefuse_ext.validation import ConfigError, check_exists
from spinefuse_ext.verbs.archive import WEIGHTS
from spinefuse_ext.verbs.paths import BUNDLES, find_bundle

logger = logging.getLogger(__name__)

#: What a copy leaves behind: caches, results, states of trainings, and the package of a release, which would come
#: before the installed one in a training that MONAI Label starts.
_LEFT = shutil.ignore_patterns("__pycache__", "eval", "training_epoch_*", "spinefuse_ext")
#: Where the files of a release on GitHub lie: owner, repository, tag.
RELEASES = "https://github.com/{}/{}/releases/download/{}"


@dataclass(frozen=True)
class BundleSource:
    """Where bundles are taken from; the first that is set counts: ``url``, ``repo``, ``folder``, else ``./bundles``.

    Args:
        folder: of bundle folders ``NAME``, or of archives ``NAME_vX.Y.Z.zip``, the newest of which is taken.
        repo: ``OWNER/REPO/TAG`` of a GitHub release, or ``OWNER/REPO`` on the Hugging Face Hub.
        url: of an archive; ``{name}`` stands for the name of the bundle.
        version: of the release, the newest when None.
        checksums: files with the SHA-256 of archives, as `spinefuse pack` and ``sha256sum`` write them, with commas
            between them; None for those that were published beside a download, ``"none"`` to take it as it is.
    """

    folder: str | None = None
    repo: str | None = None
    url: str | None = None
    version: str | None = None
    checksums: str | None = None

    @classmethod
    def of(cls, conf: Mapping[str, str]) -> BundleSource:
        """From MONAI Label's ``--conf``: ``bundles``, ``checksums``, ``zoo_repo``, ``zoo_url``, ``zoo_version``."""
        names = ("bundles", "zoo_repo", "zoo_url", "zoo_version", "checksums")
        return cls(*(conf.get(name) or None for name in names))


def provide_bundle(name: str, models: str | Path, source: BundleSource, weights: str | Path | None = None) -> Path:
    """Return ``models/NAME``, copied or downloaded unless it is there: what a server trained is never overwritten.

    Args:
        name: of the bundle.
        models: folder of an app's bundles.
        source: where it is taken from.
        weights: checkpoint for a new copy, in place of the bundle's own.

    Raises:
        ConfigError: the source has no such bundle, or it has no weights.
        MissingPathError: the folder or the weights do not exist.
        WeightsError: the weights belong to another network.
    """
    target = Path(models) / name
    if not target.is_dir():
        with atomic_folder(target) as new:
            _fetch(name, new, source)
            if weights is not None:
                _put_weights(check_exists(weights, "The checkpoint"), new)
            _check(new, name)
        logger.info("Bundle %s is in %s.", name, target)
    elif weights is not None:
        logger.info("%s keeps its own weights; %s was not copied.", target, weights)
    _check(target, name)
    return target


def _fetch(name: str, new: Path, source: BundleSource) -> None:
    with tempfile.TemporaryDirectory() as place:
        found = _found(name, Path(place), source)
        if found.suffix == ".zip":
            unpack(found, Path(place) / "unpacked")
            found = _unpacked(Path(place) / "unpacked", name)
        shutil.copytree(found, new, dirs_exist_ok=True, ignore=_LEFT)


def _found(name: str, place: Path, source: BundleSource) -> Path:
    """The bundle's folder or its archive, downloaded into ``place`` where it is not on this computer."""
    if source.url or source.repo:
        return _download(name, place, source)
    if not source.folder:
        return _own(name)
    found = _in_folder(name, check_exists(source.folder, "The folder of bundles"))
    beside_it = [Path(path) for path in beside(found.as_posix())]
    if found.suffix == ".zip" and (source.checksums or any(path.is_file() for path in beside_it)):
        verify(found, str(found.parent), source.checksums, [path.absolute().as_uri() for path in beside_it])
    return found


def _download(name: str, place: Path, source: BundleSource) -> Path:
    """The archive of a bundle, verified, or the folder that the Hugging Face Hub gives. Nothing of it was run yet."""
    where = f"the address {source.url}" if source.url else f"the repository {source.repo}"
    hub = "huggingface_hub" if source.repo and source.repo.count("/") == 1 else "github"
    address = source.url.format(name=name) if source.url else None
    options = {"source": hub, "repo": source.repo} if address is None else {"url": address}
    if address is None and hub == "huggingface_hub" and source.checksums != NONE:
        raise ConfigError(
            f"The files of {source.repo} on the Hugging Face Hub come without a checksum; give --checksums none to "
            "take them as they are, or a release on GitHub."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No hash value provided")  # it is looked at below
            download(name=name, version=source.version, bundle_dir=str(place), progress=False, **options)
    except Exception as error:
        raise ConfigError(f"The bundle {name} cannot be downloaded from {where}: {error}") from error
    archive = next(iter(sorted(place.glob("*.zip"))), None)
    if archive is None:
        return _unpacked(place, name)
    own_name = PurePosixPath(urlsplit(address).path).name if address else archive.name  # MONAI calls it NAME.zip
    archive = archive.rename(archive.with_name(own_name)) if own_name.endswith(".zip") else archive
    published = address or f"{RELEASES.format(*str(source.repo).split('/'))}/{archive.name}"
    verify(archive, where, source.checksums, beside(published))
    return archive


def _own(name: str) -> Path:
    return find_bundle(next((task for task, bundle in BUNDLES.items() if bundle == name), name))


def _in_folder(name: str, folder: Path) -> Path:
    """The bundle's folder, else its newest archive."""
    if (folder / name / "configs").is_dir():
        return folder / name
    archives = sorted(_archives(name, folder))
    if not archives:
        raise ConfigError(f"{folder} has neither the bundle {name} nor an archive {name}_vX.Y.Z.zip; give its place.")
    return archives[-1][1]


def _archives(name: str, folder: Path) -> Iterator[tuple[tuple[int, ...], Path]]:
    for path in folder.glob(f"{name}*.zip"):
        version = re.fullmatch(rf"{re.escape(name)}(?:_v(\d+(?:\.\d+)*))?", path.stem)
        if version:
            yield tuple(map(int, (version[1] or "0").split("."))), path


def _unpacked(place: Path, name: str) -> Path:
    """The bundle in an unpacked archive, whatever its folder is called."""
    found = [path.parent for path in place.glob("**/configs") if (path / "inference.json").is_file()]
    if len(found) != 1:
        raise ConfigError(f"The archive of {name} holds {len(found)} bundles, one is needed.")
    return found[0]


def _put_weights(weights: Path, bundle: Path) -> None:
    with atomic_write(bundle / WEIGHTS) as temporary:
        shutil.copyfile(weights, temporary)


def _store_for_cpu(path: Path) -> None:
    """Rewrite weights that a GPU saved: MONAI Label's training, and MONAI's tools, cannot read them without one."""
    if stored_devices(path) - {"cpu"}:
        save_whole(load_plain(path), path)
        logger.info("%s was stored for a GPU; now it is stored for the CPU, which every machine reads.", path)


def _check(bundle: Path, name: str) -> None:
    """Raise unless the bundle has weights that fit its network; store them for the CPU."""
    path = bundle / WEIGHTS
    if not path.is_file():
        raise ConfigError(
            f"The bundle {name} has no weights {WEIGHTS}; train it (`spinefuse train`), and name the result by "
            f"{'--fusion_checkpoint' if name == BUNDLES['fusion'] else '--checkpoint'}."
        )
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser["checkpoint"] = None
    fitting_weights(parser.get_parsed_content("network_def"), path)
    _store_for_cpu(path)
