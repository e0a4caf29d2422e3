"""Show bad input as one line instead of a traceback, in every command that people type."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from spinefuse_ext.packages import missing_sentence, package_missing_for
from spinefuse_ext.printable import one_line, protect_terminal
from spinefuse_ext.validation import SpinefuseError

#: How MONAI begins what it says of a component of a config that raised while it was made.
_UNMADE = re.compile(r"Failed to instantiate component '([^']*)' with keywords: ([^\n]*)")


def plain_message(error: BaseException | None) -> str | None:
    """Return the message of the ``SpinefuseError`` that caused ``error``, or None when none did.

    A package that is not installed is one of them, and an error of the file system about a file. So is what MONAI,
    torch and others say of the settings of a config's component, with the component and the names of its settings.
    """
    for one in _causes(error):
        if isinstance(one, SpinefuseError):
            return str(one)
        package = package_missing_for(one)
        if package is not None:
            return missing_sentence(package)
    return _about_a_file(error) or _about_settings(error)


def own_error(error: BaseException | None) -> SpinefuseError | None:
    """The ``SpinefuseError`` that caused ``error``, around which MONAI puts others; None when none did."""
    return next((one for one in _causes(error) if isinstance(one, SpinefuseError)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from or after, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _about_settings(error: BaseException | None) -> str | None:
    """What a component of a config said of its settings; None where the chain of errors has no such."""
    for one in _causes(error):
        found, cause = _UNMADE.match(str(one)), one.__cause__
        if found and isinstance(cause, (TypeError, ValueError)):
            reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
            settings = found[2].replace(",", ", ")
            return f"The config cannot make {found[1]} of its settings {settings}: {reason}. Check them."
    return None


def _about_a_file(error: BaseException | None) -> str | None:
    """What the file system said of a file that it named; None for any other error."""
    if not isinstance(error, OSError) or error.strerror is None or not isinstance(error.filename, (str, Path)):
        return None
    return f"{error.filename}: {error.strerror}; check the path, the rights on it and the room on its disk."


def install() -> None:
    """From now on an uncaught ``SpinefuseError`` prints one line and ends the process with exit status 2.

    The engines, which log every error on its way, log this one without its traceback. Set the environment variable
    ``SPINEFUSE_DEBUG`` to see the traceback as well. Other errors are left alone.
    """
    protect_terminal()
    if sys.excepthook is not _hook:
        sys.excepthook = _hook
        logging.setLogRecordFactory(_without_traceback(logging.getLogRecordFactory()))


def runs_as_bundle_command() -> bool:
    """Tell whether this process was started as ``python -m monai.bundle``."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return spec is not None and spec.name == "monai.bundle.__main__"


def _without_traceback(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def record(*args: Any, **options: Any) -> logging.LogRecord:
        made = make(*args, **options)
        shown = os.environ.get("SPINEFUSE_DEBUG") or not made.exc_info or plain_message(made.exc_info[1]) is None
        if not shown:
            made.exc_info = made.exc_text = None
        return made

    return record


def _hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    message = plain_message(error)
    if message is None or os.environ.get("SPINEFUSE_DEBUG"):
        sys.__excepthook__(kind, error, traceback)
    if message is not None:
        sys.stdout.flush()
        stderr = sys.__stderr__ or sys.stderr  # torch.distributed replaces sys.stderr while a hook runs
        stderr.write(f"spinefuse: {one_line(message)}\n")
        stderr.flush()
        os._exit(2)  # an exception hook has no other way to choose the status
