"""Outputs that are either whole or absent: written under a temporary name beside the target, then renamed.

What the user set up stays: a symbolic link is followed, a mount point or the working folder gets its new files inside,
and a target that cannot be written is told in one sentence, before the work where it can be known.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spinefuse_ext.formats import data_paths, is_system_name
from spinefuse_ext.renamed import renamed
from spinefuse_ext.validation import OutputError

#: Bytes written on trial before the work; a disk or a quota that has no room for them has none for an image.
_TRIAL_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_PART_BYTES = 255  # of a name, on most disks
_KEPT_NAME_BYTES = 200  # of a target's name, in the name of its temporary folder, which has signs of its own


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffixes; rename it to ``path`` on success, delete it on an error.

    Raises:
        OutputError: there cannot be such a file.
    """
    target = _target(path)
    _check_file(target)
    with _made_parents(target.parent), _beside(target, target.parent) as folder:
        temporary = folder / target.name
        yield temporary
        temporary.replace(target)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; move it to ``path`` (replacing what stands there) on success, delete it on an error.

    A folder that has to stay itself, for it is a mount point, the working folder or in a folder of somebody else, gets
    the new files inside; names of the system (``.DS_Store``, ``lost+found``) are left where they are. There the files
    change places one by one, so a process that is killed in between may leave a part of them, each whole.

    Raises:
        OutputError: there cannot be such a folder.
    """
    target = _target(path)
    _check_folder(target)
    stays = _has_to_stay(target)
    with _made_parents(target.parent), _beside(target, target if stays else target.parent) as parent:
        temporary = parent / "new"
        temporary.mkdir()
        yield temporary
        if stays:
            _swap_contents(temporary, target, parent / "old")
        else:
            _swap_folders(temporary, target, parent / "old")


def check_output_file(path: str | Path) -> Path:
    """Return ``path``; raise ``OutputError`` unless a file can be written there. Nothing is left behind."""
    target = _target(path)
    _check_file(target)
    with _told(target):
        _try_to_write(target.parent)
    return Path(path)


def check_output_folder(path: str | Path) -> Path:
    """Return ``path``; raise ``OutputError`` unless it is or can be a folder to write to. Nothing is left behind."""
    target = _target(path)
    _check_folder(target)
    with _told(target):
        _try_to_write(target)
    return Path(path)


def check_apart(output: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise ``OutputError`` when an output would replace an input: is it, is a folder above it, or a link to either."""
    target = _target(output)
    for path in inputs:
        if path is not None and _target(path).is_relative_to(target):
            raise OutputError(f"The output {output} would replace the input {path}; name another place.")


def empty_folder(folder: str | Path) -> None:
    """Delete what a folder holds and leave the folder itself, which may be a link or a mount point."""
    for path in data_paths(Path(folder).iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _target(path: str | Path) -> Path:
    """What ``path`` stands for, with every link on the way followed."""
    try:
        return Path(os.path.realpath(path, strict=False))
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise _sentence(Path(path), error) from error


def _check_file(target: Path) -> None:
    with _told(target):
        _check_parents(target)
        if target.is_dir():
            raise OutputError(f"{target} is a folder, but the output is one file; name a file.")
        if os.path.lexists(target) and not target.is_file():
            raise OutputError(f"{target} is a device or a loop of links, no file; name a file.")
        if target.exists() and not target.stat().st_mode & 0o222:
            raise OutputError(f"{target} is write-protected; allow writing, or name another file.")


def _check_folder(target: Path) -> None:
    with _told(target):
        _check_parents(target)
        if os.path.lexists(target) and not target.is_dir():
            raise OutputError(f"The output folder {target} is a file; name a folder.")


def _check_parents(target: Path) -> None:
    """A target below a file has no place."""
    nearest = next((parent for parent in target.parents if os.path.lexists(parent)), target)
    if not nearest.is_dir():
        raise OutputError(f"{target} cannot be made, for {nearest} is a file and no folder; name another place.")
    long = next((part for part in target.parts if len(os.fsencode(part)) > _LONGEST_PART_BYTES), None)
    if long is not None:
        raise OutputError(f"The output name {long[:40]}... is longer than 255 bytes; name a shorter one.")


def _try_to_write(folder: Path) -> None:
    """Write into a folder, which is made for it and does not stay, unless it was there."""
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIAL_BYTES))
    finally:
        _remove_empty(absent)


@contextmanager
def _made_parents(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; those that were not there go again when nothing comes to stand in them."""
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        _remove_empty(absent)
        raise


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):  # another process may have put something there
        for folder in folders:
            folder.rmdir()


@contextmanager
def _beside(target: Path, home: Path) -> Iterator[Path]:
    """A folder for what is not whole yet; an error that comes of the disk is one about ``target``."""
    name = os.fsdecode(os.fsencode(target.name)[:_KEPT_NAME_BYTES])
    with _told(target):
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=home))
    try:
        yield folder
    except OSError as error:
        if _is_about(error, folder):
            raise _sentence(target, error) from error
        raise
    except RuntimeError as error:  # of ITK and torch, which do not say why they could not write
        if shutil.disk_usage(folder).free < _TRIAL_BYTES:
            raise _sentence(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_about(error: OSError, folder: Path) -> bool:
    """Whether an error comes of writing the output: the disk is full, or its file is in the temporary folder."""
    if error.errno in _FULL:
        return True
    names = [os.fspath(name) for name in (error.filename, error.filename2) if isinstance(name, (str, Path))]
    return error.errno != errno.ENOENT and any(Path(name).is_relative_to(folder) for name in names)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Turn an error of the file system into a sentence about ``target``."""
    try:
        yield
    except OSError as error:
        raise _sentence(target, error) from error


def _sentence(target: Path, error: OSError | ValueError) -> OutputError:
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return OutputError(f"{target} cannot be written, for the disk is full or over its quota; make room there.")
    if number == errno.ENAMETOOLONG:
        return OutputError(f"The output {str(target)[:80]}... is too long for a path; name a shorter one.")
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return OutputError(f"The output {target} cannot be written to ({reason}); name another place, or ask for rights.")


def _has_to_stay(target: Path) -> bool:
    """Whether a folder cannot be renamed away: a mount point, what the process works in, in a folder without rights."""
    if not target.is_dir():
        return False
    with suppress(OSError):  # the working folder may be gone
        if Path.cwd().is_relative_to(target):
            return True
    return os.path.ismount(target) or not os.access(target.parent, os.W_OK | os.X_OK)


def _swap_folders(new: Path, target: Path, old: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    with suppress(OSError):  # rights are the user's choice, but another owner's cannot be given
        mode = stat.S_IMODE(target.stat().st_mode)
        os.chown(new, target.stat().st_uid, target.stat().st_gid)
        new.chmod(mode)
    try:
        target.rename(old)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):  # a mount that does not look like one
            raise
        _swap_contents(new, target, old)
        return
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    for kept in [path for path in old.iterdir() if is_system_name(path.name)]:
        kept.replace(target / kept.name)


def _swap_contents(new: Path, target: Path, old: Path) -> None:
    """Put the files of ``new`` into ``target`` in place of its own, which come back if one cannot be moved."""
    old.mkdir()
    moves = [(path, old / path.name) for path in target.iterdir() if not is_system_name(path.name)]
    moves += [(path, target / path.name) for path in new.iterdir()]
    done: list[tuple[Path, Path]] = []
    try:
        for source, place in moves:
            _move(source, place)
            done.append((source, place))
    except OSError:
        for source, place in reversed(done):
            _move(place, source)
        raise


def _move(source: Path, place: Path) -> None:
    try:
        source.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.move(source, place)


if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {
            "whole_file": "spinefuse_ext.files.atomic_write",
            "whole_folder": "spinefuse_ext.files.atomic_folder",
        },
    )
