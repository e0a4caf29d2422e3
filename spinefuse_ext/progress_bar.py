"""How far a stage is: a bar on a terminal, a plain line every tenth of the way in a log, nothing where nobody asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from spinefuse_ext.console import is_silent

Item = TypeVar("Item")

#: Seconds between two lines of one stage in a log, but for its last.
LINE_INTERVAL_S = 10.0
_STAGE: ContextVar[str] = ContextVar("title of the stage", default="Windows")


@contextmanager
def stage(title: str) -> Iterator[None]:
    """While this lasts, what a network does window by window goes by this title."""
    token = _STAGE.set(title)
    try:
        yield
    finally:
        _STAGE.reset(token)


def stage_title() -> str:
    """The title of the stage under way; "Windows" where nobody named it."""
    return _STAGE.get()


def shows_bars() -> bool:
    """Whether progress is drawn as bars: on a terminal, and where progress is told at all."""
    return sys.stderr.isatty() and not is_silent()


def progress_bar(
    items: Iterable[Item] | None = None,
    *,
    title: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    delay: float = 0.0,
) -> Any:
    """Return a ``tqdm`` bar on the error stream if that is a terminal, else a :class:`PlainProgress`.

    Args:
        items: what is gone through, if the bar is iterated over.
        title: of the stage, such as "Training".
        unit: one of what is counted, such as "epoch".
        total: how many there are; by default the length of ``items``.
        initial: how many are done already.
        delay: seconds that pass before anything is shown.
    """
    if shows_bars():
        return tqdm(items, desc=title, unit=unit, total=total, initial=initial, delay=delay)
    return PlainProgress(items, title=title, unit=unit, total=total, initial=initial, delay=delay)


class PlainProgress(Generic[Item]):
    """The part of ``tqdm`` that this package uses, in lines that a log file can hold.

    A line is written for each tenth of the way, at most every ``interval_s`` seconds, and one at the end.
    """

    def __init__(
        self,
        items: Iterable[Item] | None = None,
        *,
        title: str,
        unit: str,
        total: int | None = None,
        initial: int = 0,
        delay: float = 0.0,
        interval_s: float = LINE_INTERVAL_S,
    ) -> None:
        self.items, self.title, self.unit = items, title, unit
        length = getattr(items, "__len__", None)
        self.total = total if total is not None or length is None else int(length())
        self.n, self.figures, self.silent = initial, "", is_silent()
        self.interval_s = interval_s
        self.start = time.monotonic()
        self.shows_from, self.told_at = self.start + delay, self.start
        self.told, self.closed = (initial, self._tenth()), False

    def __iter__(self) -> Iterator[Item]:
        with self:
            for item in self.items or ():
                yield item
                self.update()

    def __enter__(self) -> PlainProgress[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count ``n`` more."""
        self.n += n
        now = time.monotonic()
        if self._tenth() > self.told[1] and now - self.told_at >= self.interval_s and now >= self.shows_from:
            self._tell(now)

    def set_postfix(self, figures: Mapping[str, object], refresh: bool = True) -> None:
        """Show these figures behind the next line."""
        self.figures = "".join(f", {name}={value}" for name, value in figures.items())

    def close(self) -> None:
        """Tell where it ended, unless that stands there."""
        now = time.monotonic()
        if not self.closed and self.n != self.told[0] and now >= self.shows_from:
            self._tell(now)
        self.closed = True

    def _tenth(self) -> int:
        return 10 * self.n // self.total if self.total else 0

    def _tell(self, now: float) -> None:
        self.told, self.told_at = (self.n, self._tenth()), now
        if self.silent:
            return
        part = f"{100 * self.n // self.total}% ({self.n}/{self.total}" if self.total else f"({self.n}"
        many = "" if self.n == 1 and self.total in (None, 1) else "s"
        took = tqdm.format_interval(now - self.start)
        tqdm.write(f"{self.title}: {part} {self.unit}{many}, {took}){self.figures}", file=sys.stderr)
