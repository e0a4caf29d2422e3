"""How far a run in this process is: one line for its epochs or cases, with the time left and the latest figures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from spinefuse_ext.progress_bar import progress_bar

_STARTED = re.compile(r"@([\w#:]+)\.run\(")
#: Where the configs keep the handlers of the engine that a run starts.
_HANDLERS = {"train#trainer": "train#handlers", "validate#evaluator": "validate#handlers", "evaluator": "handlers"}
_LINES: list[Any] = []


def close_lines() -> None:
    """Leave all lines as they are; what is written next begins a new one."""
    while _LINES:
        _LINES.pop().close()


def add_progress(parser: ConfigParser, run_id: str = "run") -> None:
    """Give the engine that the steps of a run start a :class:`ProgressHandler`, in place of MONAI's ``StatsHandler``.

    It is done before anything is built and as MONAI's own tracking does it: where the config lists handlers. A config
    without such a list runs without.
    """
    found = _STARTED.search(str(parser.get(run_id, "")))
    engine = found[1].replace("::", "#") if found else ""
    handlers = parser.get(_HANDLERS.get(engine, ""), None) if engine in _HANDLERS else None
    if not isinstance(handlers, list):
        return
    for name in _HANDLERS.values():
        _disable_stats(parser.get(name, None) if name in parser else None)
    trains = engine == "train#trainer" and "validate#evaluator" in parser
    told = {"validator": "@validate#evaluator"} if trains else {}
    handlers.append({"_target_": f"{__name__}.ProgressHandler", "trains": engine == "train#trainer", **told})


def _disable_stats(handlers: Any) -> None:
    """Leave MONAI's log of every step and epoch out; its place in the list stays."""
    for handler in handlers if isinstance(handlers, list) else []:
        if isinstance(handler, dict) and str(handler.get("_target_")).rpartition(".")[2] == "StatsHandler":
            handler["_disabled_"] = True


class ProgressHandler:
    """A line on the error stream: the epochs of a training, or the cases of an inference of several.

    Args:
        trains: count epochs, not cases.
        validator: tells the metric by which weights are chosen.
    """

    def __init__(self, *, trains: bool = False, validator: Engine | None = None) -> None:
        self.trains, self.validator = trains, validator
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED if self.trains else Events.ITERATION_COMPLETED, self.advance)
        engine.add_event_handler(Events.COMPLETED, close_lines)

    def start(self, engine: Engine) -> None:
        """Begin the line, at the epoch that a resumed training goes on with."""
        total = (engine.state.max_epochs if self.trains else engine.state.epoch_length) or 0
        if self.bar is None and total > 1:
            done = engine.state.epoch - 1 if self.trains else 0
            what, unit = ("Training", "epoch") if self.trains else ("Cases", "case")
            self.bar = progress_bar(total=total, initial=done, title=what, unit=unit)
            _LINES.append(self.bar)

    def advance(self, engine: Engine) -> None:
        """One epoch or case more."""
        if self.bar is not None:
            self.bar.set_postfix({**_loss(engine.state.output), **self._validated()}, refresh=False)
            self.bar.update()

    def _validated(self) -> dict[str, str]:
        state: Any = self.validator.state if self.validator is not None else None
        name = getattr(state, "key_metric_name", None)
        if state is None or not name or name not in state.metrics:
            return {}
        return {str(name): _figure(state.metrics[name]), "best": _figure(state.best_metric)}


def _loss(output: Any) -> dict[str, str]:
    """The loss of the latest step, where an engine's output tells one."""
    first = output[0] if isinstance(output, list) and output else output
    loss = first.get("loss") if isinstance(first, Mapping) else None
    return {} if loss is None else {"loss": _figure(loss)}


def _figure(value: Any) -> str:
    number = float(value)
    return f"{number:.3g}" if math.isfinite(number) else str(number)
