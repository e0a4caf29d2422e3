"""What a person at a terminal sees while a verb works: our own sentences; those of the libraries with ``--verbose``."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tqdm import tqdm

#: Libraries whose messages are news to nobody who uses a verb: optional decoders that are absent, engines that start.
_LIBRARIES = ("monai", "ignite", "pydicom", "highdicom", "tensorboard", "matplotlib", "nvidia", "py")
#: What a verb's last lines say better: where each file of a run went.
_SAID_AT_THE_END = "spinefuse_ext.data.writer"
_TOLD = 5  # paths, of a verb that writes many
_verbose = False
_SILENT: ContextVar[bool] = ContextVar("nothing is told", default=False)


class _Lines(logging.Handler):
    """Writes each message as a line on the error stream, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def start_console(*, verbose: bool = False) -> None:
    """Send what is logged to the error stream from now on: all of it, or without the libraries' chatter.

    Python warnings follow, unless the person who started Python said what to do with them (``-W``).
    """
    global _verbose
    _verbose = verbose
    lines = _Lines()
    lines.setFormatter(logging.Formatter("%(name)s: %(message)s" if verbose else "%(message)s"))
    if not verbose:
        lines.addFilter(_is_ours)
    for earlier in [handler for handler in logging.root.handlers if isinstance(handler, _Lines)]:
        logging.root.removeHandler(earlier)
    logging.root.addHandler(lines)
    logging.root.setLevel(logging.INFO)
    if not verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")


def is_verbose() -> bool:
    """Whether the messages of the libraries are shown."""
    return _verbose


def quieten_libraries() -> None:
    """Keep the libraries' chatter out of a process that has no console of its own, such as one of a pool."""
    logging.getLogger("monai").setLevel(logging.ERROR)  # optional decoders that are not installed are no news
    warnings.filterwarnings("ignore", module="monai")  # so is what it warns of


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """While this lasts, the libraries say nothing, unless ``--verbose`` asked for it.

    Some of MONAI's loggers have a stream and a level of their own, so that each one is told. An engine logs the
    error that it ends with, which is raised all the same.
    """
    if _verbose:
        yield
        return
    names = {*_LIBRARIES, *(name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LIBRARIES)}
    before = {logger: logger.level for logger in map(logging.getLogger, names)}
    try:
        for logger in before:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


@contextmanager
def silence(silent: bool = True) -> Iterator[None]:
    """While this lasts, a verb's function writes neither results nor progress; what it logs is logged."""
    token = _SILENT.set(silent)
    try:
        yield
    finally:
        _SILENT.reset(token)


def is_silent() -> bool:
    """Whether results and progress are kept to themselves."""
    return _SILENT.get()


def tell(sentence: str) -> None:
    """Write a line of a verb's result on the output stream."""
    if is_silent():
        return
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def tell_paths(result: object) -> None:
    """Tell the file or files that a verb's function returned; nothing of another result."""
    paths = [one for one in (result if isinstance(result, list) else [result]) if isinstance(one, Path)]
    for path in paths[:_TOLD]:
        tell(f"Wrote {path}.")
    if len(paths) > _TOLD:
        tell(f"Wrote {len(paths) - _TOLD} more beside them.")


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a message is for whoever uses a verb: one of this package, or the warning of a library that is rare."""
    if record.name == _SAID_AT_THE_END:
        return record.levelno >= logging.WARNING
    library = record.name.partition(".")[0]
    return library == __name__.partition(".")[0] or (record.levelno >= logging.WARNING and library not in _LIBRARIES)
