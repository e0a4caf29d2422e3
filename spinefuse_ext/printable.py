"""Text for a terminal or a log: names come from files and headers, and may hold what drives a terminal."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

#: Controls (C0, DEL, C1), marks and overrides of the writing direction, line separators, halves of surrogate pairs.
_HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_CURSOR = re.compile("\n*(?:\x1b\\[A)+")  # what a progress bar writes to reach its line

Factory = Callable[..., logging.LogRecord]


def printable(text: str, keep: str = "\n\t") -> str:
    """Return ``text`` with every character that would not be shown but obeyed as its escape, for ESC backslash-x1b.

    Args:
        text: any.
        keep: characters that stay; the end of a line and the tabulator in a message, none in a name.
    """
    return _HOSTILE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if character in "\n\r\t":
        return repr(character)[1:-1]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class PrintableStream(io.TextIOBase):
    """A text stream in front of another: what is written to it arrives :func:`printable`.

    Progress bars keep the carriage return that they begin with, and their way up to the line that is theirs.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if not _CURSOR.fullmatch(text):
            start = "\r" if text.startswith("\r") else ""
            text = start + printable(text[len(start) :])
        self._stream.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        return self._stream.buffer


def one_line(message: str) -> str:
    """A message as a line for the terminal: the ends of lines that a name brings are shown, too."""
    return printable(message.strip(), keep="")


def protect_terminal() -> None:
    """From now on nothing reaches the terminal or a log of this process but printable text, without colours."""
    os.environ.setdefault("NO_COLOR", "1")  # what colours its messages asks for it
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, PrintableStream):
            setattr(sys, name, PrintableStream(stream))
    protect_log()


class PrintableRecord(logging.LogRecord):
    """A record of :mod:`logging` whose message and traceback are :func:`printable`, whatever handler writes it."""

    def getMessage(self) -> str:  # noqa: N802 (the name is logging's)
        return printable(super().getMessage())


def protect_log() -> None:
    """From now on every record of :mod:`logging` in this process is a :class:`PrintableRecord`."""
    make = logging.getLogRecordFactory()
    if not getattr(make, "printable", False):
        logging.setLogRecordFactory(_printable_records(make))


def _printable_records(make: Factory) -> Factory:
    def record(*args: Any, **options: Any) -> logging.LogRecord:
        made = make(*args, **options)
        if type(made) is logging.LogRecord:
            made.__class__ = PrintableRecord
        if made.exc_info and made.exc_info[1] is not None:
            made.exc_text = printable("".join(traceback.format_exception(*made.exc_info)).rstrip("\n"))
        return made

    record.printable = True  # type: ignore[attr-defined]
    return record
