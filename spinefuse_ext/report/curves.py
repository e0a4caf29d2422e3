"""Training curves: read from TensorBoard event files, drawn with their running mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spinefuse_ext.report.palette import CURVE_COLOURS, GRID, INK, PAPER, WIDTH_IN
from spinefuse_ext.validation import check_exists

Curve = Sequence[tuple[int, float]]

#: Curves with more points than this are drawn faint, with their running mean over a fortieth of the points on top.
_SMOOTHED_FROM = 80
#: Of the first round through the colours, the second, and so on.
_LINE_STYLES = ("-", "--", ":")
#: Values that span more than this factor are drawn on a logarithmic axis.
_LOG_FROM = 30.0


def read_curves(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of the TensorBoard event files below ``folder``: tag -> [(step, value)], steps ascending.

    A tag that stands in several folders of event files is named by its folder, ``stage1/train_loss``.

    Raises:
        MissingPathError: ``folder`` does not exist.
    """
    folder = check_exists(folder, "Folder of training logs")
    runs = sorted({file.parent for file in folder.rglob("events.out.tfevents.*")})
    scalars = {run: _read_run(run) for run in runs}
    uses = Counter(tag for tags in scalars.values() for tag in tags)
    return {
        tag if uses[tag] == 1 or run == folder else f"{run.relative_to(folder).as_posix()}/{tag}": points
        for run, tags in scalars.items()
        for tag, points in tags.items()
    }


def _read_run(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: sorted((int(event.step), float(event.value)) for event in events.Scalars(tag))
        for tag in events.Tags()["scalars"]
    }


def loss_curves(
    curves: Mapping[str, Curve], title: str, *, value_name: str = "loss", step_name: str = "iteration"
) -> Figure:
    """One line a curve over its steps; a long curve is drawn faint under its running mean.

    Losses and metrics alike: name what is drawn by ``value_name`` and ``step_name``. Values that are not finite
    leave gaps.

    Raises:
        ValueError: there is no curve.
    """
    if not any(len(points) for points in curves.values()):
        raise ValueError(f"Expected at least one curve with points for {title!r}, got {sorted(curves)}.")
    figure = Figure(figsize=(WIDTH_IN, 3.9), facecolor=PAPER, layout="constrained")
    ax = figure.subplots()
    for number, (name, points) in enumerate(sorted(curves.items())):
        steps, values = np.asarray(points, dtype=float).reshape(-1, 2).T
        values = np.where(np.isfinite(values), values, np.nan)
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
        style = _LINE_STYLES[number // len(CURVE_COLOURS) % len(_LINE_STYLES)]
        long = len(steps) > _SMOOTHED_FROM
        marker = "o" if len(steps) <= 20 else ""
        ax.plot(
            steps, values, color=colour, alpha=0.25 if long else 1, ls=style, lw=1 if long else 1.8, marker=marker, ms=4
        )
        shown = _running_mean(values, max(3, len(values) // 40)) if long else values
        ax.plot(steps, shown, color=colour, linestyle=style, linewidth=1.8, label=name)
    if _wants_log([value for points in curves.values() for _, value in points]):
        ax.set_yscale("log")
    ax.set_title(title, loc="left", color=INK, fontsize=13)
    ax.set_xlabel(step_name, color=INK, fontsize=11)
    ax.set_ylabel(value_name, color=INK, fontsize=11)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(color=GRID, linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize=10)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=10, labelcolor=INK)
    return figure


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the finite values in a window; a gap stays a gap and spoils nothing after it."""
    finite = np.isfinite(values)
    total = uniform_filter1d(np.where(finite, values, 0.0), width, mode="nearest")
    share = uniform_filter1d(finite.astype(float), width, mode="nearest")
    return np.where(finite, total / np.where(share > 0, share, 1.0), np.nan)


def _wants_log(values: Sequence[float]) -> bool:
    finite: NDArray[np.float64] = np.asarray([value for value in values if np.isfinite(value)])
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > _LOG_FROM)
