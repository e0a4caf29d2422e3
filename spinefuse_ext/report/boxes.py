"""Box plots of a score by method; every case is a dot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spinefuse_ext.report.palette import CURVE_COLOURS, GRID, INK, PAPER, WIDTH_IN

_HEIGHT_IN, _SPREAD = 4.6, 0.5


def box_plot(values: Mapping[str, Mapping[str, float]], value_name: str) -> Figure:
    """A box a method: quartiles, median, whiskers to the farthest value within 1.5 interquartile ranges.

    Args:
        values: score by case by method; values that are not finite are left out. Up to eight cases have a colour each
            and keep their place within the box, so that a case can be followed from method to method.
        value_name: what is scored, with its unit.
    """
    cases = list(dict.fromkeys(case for scored in values.values() for case in scored))
    figure = Figure(figsize=(WIDTH_IN, _HEIGHT_IN), facecolor=PAPER, layout="constrained")
    ax = figure.subplots()
    finite = [[value for value in scored.values() if math.isfinite(value)] for scored in values.values()]
    style = {"color": INK, "linewidth": 1.2}
    lines: dict[str, Any] = dict.fromkeys(("boxprops", "whiskerprops", "capprops"), style)
    lines["medianprops"] = {"color": INK, "linewidth": 2.4}
    ax.boxplot(finite, widths=0.7, showfliers=False, **lines)
    few = len(cases) <= len(CURVE_COLOURS)
    for number, case in enumerate(cases):
        aside = _SPREAD * ((number + 0.5) / len(cases) - 0.5)
        places = [row + aside for row in range(1, len(values) + 1)]
        scored = [by_case.get(case, math.nan) for by_case in values.values()]
        colour = CURVE_COLOURS[number] if few else CURVE_COLOURS[0]
        ax.scatter(places, scored, s=26, color=colour, zorder=3, alpha=0.9, label=case if few else None)
    _dress(ax, list(values), value_name)
    if few and cases:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=10, labelcolor=INK)
    return figure


def _dress(ax: Axes, names: list[str], value_name: str) -> None:
    slanted: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if len(names) > 6 else {}
    ax.set_xticks(range(1, len(names) + 1), names, **slanted)
    ax.set_ylabel(value_name, color=INK, fontsize=11)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize=10)
