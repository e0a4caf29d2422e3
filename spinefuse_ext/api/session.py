"""A call of the Python face: quiet, without a trace in the caller's process, with errors of one sentence."""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinefuse_ext.api.images import Inputs
from spinefuse_ext.arguments import nearest_option
from spinefuse_ext.console import quiet_libraries, silence
from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.validation import ConfigError, SpinefuseError, UnknownSettingError


@dataclass(frozen=True)
class Session:
    """The inputs of a call as files, the folder that it writes to, whether that stays, and what was warned of."""

    inputs: Inputs
    out: Path
    stays: bool
    warnings: list[str]


@contextmanager
def session(
    out: str | Path | None, *, verbose: bool, function: Callable[..., Any], overrides: Mapping[str, Any] | None = None
) -> Iterator[Session]:
    """Yield the :class:`Session` of a call of ``function``; what is temporary goes in the end.

    The random numbers of the caller go on as if nothing had been called.

    Args:
        out: folder for the results, None for a temporary one.
        verbose: show the command that does the same, progress and results, as the verb does.
        function: what was called; tells the nearest argument for a setting that does not exist.
        overrides: settings by config id.

    Raises:
        SpinefuseError: whatever is refused, in one sentence.
    """
    if "args_file" in (overrides or {}):
        raise ConfigError("A file of arguments (args_file) is for the command line; give the settings themselves.")
    with tempfile.TemporaryDirectory(prefix="spinefuse.") as folder:
        inputs = Inputs(Path(folder))
        target = Path(folder, "out") if out is None else Path(out)
        call = Session(inputs, target, out is not None, [])
        with (
            _sentences(inputs, function),
            _kept_random_state(),
            _collected_warnings(call, told=verbose),
            silence(not verbose),
            quiet_libraries(),
        ):
            yield call


@contextmanager
def _sentences(inputs: Inputs, function: Callable[..., Any]) -> Iterator[None]:
    """Turn the errors that a verb tells in one line into exceptions with that line."""
    try:
        yield
    except UnknownSettingError as error:
        near = nearest_option(error.name, function, error.near)
        if near is None:
            raise
        name = function.__name__
        raise ConfigError(
            f"{name}() has no argument {error.name}, and no config defines such a setting; did you mean {near}?"
        ) from error
    except SpinefuseError as error:
        told = inputs.plain(str(error))
        if told == str(error):
            raise
        raise type(error)(told) from error
    except Exception as error:
        message = plain_message(error)
        if message is None:
            raise
        raise ConfigError(inputs.plain(message)) from error


class _Collector(logging.Handler):
    """Keeps the warnings of a call, each once; they name no file of the call's own."""

    def __init__(self, call: Session) -> None:
        super().__init__(logging.WARNING)
        self.call = call

    def emit(self, record: logging.LogRecord) -> None:
        text = self.call.inputs.plain(record.getMessage())
        if not self.call.stays:
            text = text.replace(f"{self.call.out}/", "").replace(f"{self.call.out}: ", "")
        if text not in self.call.warnings:
            self.call.warnings.append(text)


@contextmanager
def _collected_warnings(call: Session, *, told: bool) -> Iterator[None]:
    """Keep what this package warns of for the result; it is logged as well when ``told``."""
    logger, collector = logging.getLogger(__name__.partition(".")[0]), _Collector(call)
    before = logger.propagate
    logger.addHandler(collector)
    logger.propagate = before and told
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(collector)


@contextmanager
def _kept_random_state() -> Iterator[None]:
    """Give the caller the random numbers back that a bundle seeds for itself, and what it sets with them."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (what the libraries draw from)
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
