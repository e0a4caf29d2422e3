"""The pieces every image figure is built from: the grid of panels, one slice, outlines, names, letters, legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from spinefuse_ext.report.palette import BACKGROUND, MUTED, TEXT, WIDTH_IN
from spinefuse_ext.report.views import Limits, Volume, edge_letters

_GAP_IN = 0.08
_TITLE_IN = 0.36
_LEGEND_IN = 0.42
#: One row may be tall; several rows share the reader's screen.
_TALLEST_IN = {True: 5.0, False: 3.7}


def panel_grid(
    titles: Sequence[str], rows: int, size_mm: tuple[float, float], legend: bool = False
) -> tuple[Figure, NDArray[np.object_]]:
    """A dark figure of ``rows`` x ``len(titles)`` panels in the proportions of ``size_mm`` (width, height)."""
    columns = len(titles)
    panel_width = (WIDTH_IN - (columns + 1) * _GAP_IN) / columns
    panel_height = min(panel_width * size_mm[1] / size_mm[0], _TALLEST_IN[rows == 1])
    panel_width = min(panel_width, panel_height * size_mm[0] / size_mm[1])
    width = max(columns * panel_width + (columns + 1) * _GAP_IN, WIDTH_IN / 2)
    below = _LEGEND_IN if legend else _GAP_IN
    height = _TITLE_IN + rows * panel_height + (rows - 1) * _GAP_IN + below
    side = (width - columns * panel_width - (columns - 1) * _GAP_IN) / 2
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND)
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": side / width,
            "right": 1 - side / width,
            "top": 1 - _TITLE_IN / height,
            "bottom": below / height,
            "wspace": _GAP_IN / panel_width,
            "hspace": _GAP_IN / panel_height,
        },
    )
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, color=TEXT, fontsize=11.5, pad=6)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def show_slice(ax: Axes, volume: Volume, axis: int, index: int, limits: Limits) -> None:
    """One grey slice; the axes are in mm from the upper left corner."""
    picture = volume.picture(axis, index)
    low, high = limits
    ax.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=extent_mm(volume, axis), interpolation="bilinear")


def extent_mm(volume: Volume, axis: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a picture in mm, as ``imshow`` wants them."""
    width, height = volume.size_mm(axis)
    return 0.0, width, height, 0.0


def paint(ax: Axes, classes: Volume, axis: int, index: int, colours: dict[int, str], alpha: float) -> None:
    """Fill each class of a label slice with its colour."""
    picture = classes.picture(axis, index).astype(np.int64)
    painted = np.zeros((*picture.shape, 4))
    for value, colour in colours.items():
        painted[picture == value] = to_rgba(colour, alpha)
    ax.imshow(painted, extent=extent_mm(classes, axis), interpolation="nearest")


def outline(ax: Axes, level: NDArray[np.float32], size_mm: tuple[float, float], colour: str) -> None:
    """Draw where a picture ``(rows, columns)`` crosses 0.5; nothing when it never does."""
    rows, columns = level.shape
    if min(rows, columns) < 2 or not level.min() < 0.5 < level.max():
        return
    across = (np.arange(columns) + 0.5) * size_mm[0] / columns
    down = (np.arange(rows) + 0.5) * size_mm[1] / rows
    ax.contour(across, down, level, levels=[0.5], colors=[colour], linewidths=1.1)


def annotate(ax: Axes, volume: Volume, axis: int, index: int) -> None:
    """Edge letters, the slice's place and a scale bar on one panel."""
    plain: dict[str, Any] = {"color": TEXT, "path_effects": [withStroke(linewidth=2, foreground=BACKGROUND)]}
    style = {**plain, "fontsize": 9, "transform": ax.transAxes}
    left, right, top, bottom = edge_letters(axis)
    ax.text(0.02, 0.5, left, ha="left", va="center", **style)
    ax.text(0.98, 0.5, right, ha="right", va="center", **style)
    ax.text(0.5, 0.985, top, ha="center", va="top", **style)
    ax.text(0.5, 0.015, bottom, ha="center", va="bottom", **style)
    width, height = volume.size_mm(axis)
    bar = next((length for length in (50, 20, 10, 5, 2) if length <= 0.4 * width), 1)
    ax.plot([0.03 * width, 0.03 * width + bar], [0.975 * height] * 2, color=TEXT, linewidth=2, solid_capstyle="butt")
    words = f"{volume.position(axis, index)}\n{bar} mm"
    ax.text(0.03 * width, 0.962 * height, words, fontsize=7.5, ha="left", va="bottom", **plain)


def write_name(ax: Axes, name: str) -> None:
    """What a panel shows, in its upper left corner."""
    style: dict[str, Any] = {"color": TEXT, "path_effects": [withStroke(linewidth=2.5, foreground=BACKGROUND)]}
    ax.text(0.03, 0.97, name, ha="left", va="top", fontsize=11, fontweight="bold", transform=ax.transAxes, **style)


def add_legend(figure: Figure, entries: dict[str, str]) -> None:
    """Names and colours in one line along the bottom edge."""
    handles = [Patch(facecolor=colour, edgecolor="none", label=name) for name, colour in entries.items()]
    legend = figure.legend(handles=handles, loc="lower center", ncol=len(handles), frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_color(MUTED)
