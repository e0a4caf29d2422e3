"""Files of ``torch.save`` are read as data: archives of tensors, and nothing that could run.

A file that looks like TorchScript is handed to its interpreter by ``torch.load``, whatever unpickler was asked for. So
every file is looked at before, with the reader that ``torch.load`` uses itself.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from spinefuse_ext.printable import printable
from spinefuse_ext.validation import WeightsError

_ZIP = b"PK\x03\x04"
#: Bytes of the pickle in an archive, which holds names and shapes; the numbers lie beside it.
_LARGEST_PICKLE = 256 * 2**20
_SAVE_AGAIN = "load it where it was made and save it again by torch.save"


class RunsCodeError(WeightsError):
    """A file that should hold tensors holds a program."""


def load_plain(
    path: str | Path,
    device: torch.device | str | None = "cpu",
    *,
    reader: Any = None,
    mmap: bool = False,
    old_format: bool = False,
) -> Any:
    """Return what an archive of ``torch.save`` holds, on ``device``: tensors, numbers and texts in containers.

    Args:
        path: of the file.
        device: where the tensors go; None for where they were.
        reader: stands for the module ``pickle``, with an ``Unpickler`` that refuses what has no place in the file; by
            default PyTorch's own, which knows tensors and their containers alone.
        mmap: leave the numbers in the file until they are used.
        old_format: also take a plain pickle as PyTorch wrote until version 1.5, for a file that others publish so.

    Raises:
        WeightsError: the file is no such archive, see :func:`check_archive`.
        Exception: of ``torch.load``, for an archive that is torn or holds something else.
    """
    path = Path(path)
    if not (old_format and _is_old(path)):
        check_archive(path)
    if reader is None:
        return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    return torch.load(path, map_location=device, weights_only=False, mmap=mmap, pickle_module=reader)


def check_archive(path: str | Path) -> Path:
    """Return ``path`` when it is an archive of plain data, as ``torch.save`` writes it.

    Raises:
        RunsCodeError: it is TorchScript.
        WeightsError: it has an old or another format, or it unpacks to more than it is.
    """
    path = Path(path)
    shown = printable(str(path), keep="")
    try:
        if _start(path) != _ZIP:  # torch.load takes what has anything before its archive for an old format
            raise zipfile.BadZipFile
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), shown)
        records = torch._C.PyTorchFileReader(str(path)).get_all_records()  # as torch.load looks
    except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{shown} is not a checkpoint of tensors; train one first, or, for one of PyTorch before 1.6, "
            f"{_SAVE_AGAIN}."
        ) from error
    if "constants.pkl" in records:
        raise RunsCodeError(_torchscript(shown))
    return path


def _check_members(members: list[zipfile.ZipInfo], shown: str) -> None:
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise RunsCodeError(_torchscript(shown))
    if any(
        member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size for member in members
    ):
        raise WeightsError(f"{shown} is a compressed archive, which torch.save never writes; {_SAVE_AGAIN}.")
    pickles = [member for member in members if member.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or len(set(names)) < len(names) or pickles[0].file_size > _LARGEST_PICKLE:
        raise WeightsError(f"{shown} is an archive, but not one of torch.save; {_SAVE_AGAIN}.")


def _torchscript(shown: str) -> str:
    return (
        f"{shown} is a TorchScript archive, which may run code when it is loaded; give the weights alone, saved by "
        "torch.save(network.state_dict(), PATH)."
    )


def _is_old(path: Path) -> bool:
    """Whether the file starts as a pickle does, neither as a zip nor as a tar."""
    return _start(path).startswith(b"\x80")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_ZIP))
