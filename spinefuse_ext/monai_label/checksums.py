"""SHA-256 of a bundle that was downloaded: as the user states it, or as it was published beside the archive."""

from __future__ import annotations

import hashlib
import logging
import re
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from spinefuse_ext.validation import ConfigError, check_exists

logger = logging.getLogger(__name__)

#: What ``--checksums`` says for "take it as it is".
NONE = "none"
_LINE = re.compile(r"([0-9a-fA-F]{64})(?:\s+\*?(.+))?")
_LARGEST = 2**16
_SECONDS = 30


def verify(archive: Path, where: str, stated: str | None, published: Iterable[str]) -> None:
    """Raise unless the SHA-256 of ``archive`` is the one that is known of it.

    Args:
        archive: that was downloaded.
        where: it came from, for messages.
        stated: files in the format of ``sha256sum``, with commas between them; ``"none"`` takes the archive as it is,
            which is logged; None looks at what was published.
        published: addresses at which such a file may lie beside the archive.

    Raises:
        ConfigError: another checksum, or none is known.
        MissingPathError: a file that was stated.
    """
    if stated == NONE:
        logger.warning(
            "%s from %s is used as it is: its checksum was not looked at (--checksums none).", archive.name, where
        )
        return
    expected, source = _stated(archive.name, stated) if stated else _published(archive.name, published)
    if expected is None:
        raise ConfigError(
            f"No checksum is known of {archive.name} from {where}, so nobody can tell whether it is what was "
            "published; give --checksums FILE (as `spinefuse pack` writes it), or --checksums none to take it as it is."
        )
    found = digest(archive)
    if found != expected:
        raise ConfigError(
            f"{archive.name} from {where} has the SHA-256 {found}, but {source} says {expected}; it was not used: "
            "download it again, or ask who published it."
        )
    logger.info("%s has the SHA-256 that %s says.", archive.name, source)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    summed = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            summed.update(part)
    return summed.hexdigest()


def beside(archive: str) -> list[str]:
    """Where the checksum of an archive at that address or path may lie: as `spinefuse pack` names it first."""
    stem = archive.removesuffix(".zip")
    folder, _, name = stem.rpartition("/")
    packed = re.sub(r"_v(?=\d[\d.]*$)", "-", name)
    return list(dict.fromkeys(f"{place}.sha256" for place in (f"{folder}/{packed}", stem, archive)))


def in_text(text: str, name: str) -> str | None:
    """The checksum of the file ``name`` in a text of ``sha256sum``; a line alone may stand without a name."""
    found = [_LINE.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    lines = [(line[1].lower(), (line[2] or "").strip().rpartition("/")[2]) for line in found if line]
    named = next((checksum for checksum, file in lines if file == name), None)
    bare = lines[0][0] if len(lines) == 1 and not lines[0][1] else None
    return named or bare


def _stated(name: str, files: str) -> tuple[str | None, str]:
    for file in files.split(","):
        path = check_exists(file.strip(), "The file of checksums")
        checksum = in_text(path.read_text(encoding="utf-8", errors="replace"), name)
        if checksum:
            return checksum, str(path)
    return None, files


def _published(name: str, addresses: Iterable[str]) -> tuple[str | None, str]:
    for address in addresses:
        try:
            with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
                checksum = in_text(answer.read(_LARGEST).decode("utf-8", "replace"), name)
        except (OSError, ValueError):  # not there, or not reachable: another name may be
            continue
        if checksum:
            return checksum, address
    return None, ""
