"""The offline page of a comparison: table 2, who wins where, and the pictures to judge the numbers by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from spinefuse_ext import __version__
from spinefuse_ext.report.comparison import Comparison, score_table, undefined, wins_table
from spinefuse_ext.report.drawing import annotate, panel_grid, show_slice
from spinefuse_ext.report.page import Fact, Picture, Section, write_page
from spinefuse_ext.report.palette import BACKGROUND, TEXT
from spinefuse_ext.report.registration_figures import bone_mask
from spinefuse_ext.report.run_sections import duration
from spinefuse_ext.report.table_files import write_latex, write_table_csv
from spinefuse_ext.report.tables import DASH, Table
from spinefuse_ext.report.views import ImageLike, Limits, as_volumes, informative_slices

#: Panels in a row; more than these go on in the next row, so that none gets too small to be judged.
COLUMNS = 5
PAGE, TABLE = "comparison.html", "table"
_WHOLE: Limits = (0.0, 1.0)


@dataclass(frozen=True)
class Making:
    """How a comparison was made: seconds per method and step, the settings given, and the commands."""

    steps_s: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, str]
    commands: Sequence[str]


def comparison_pictures(case: str, images: Mapping[str, ImageLike], axis: int, count: int = 2) -> list[Picture]:
    """One picture a slice: CT | MR | methods, each in its whole range [0, 1], so that brightness can be compared.

    Args:
        case: name in the caption.
        images: ``CT`` first, then ``MR`` and each method; one grid.
        axis: 0 sagittal, 1 coronal, 2 axial.
        count: slices, spread over those with much bone.
    """
    volumes = dict(zip(images, as_volumes(**images), strict=True))
    first = next(iter(volumes.values()))
    chosen = informative_slices(bone_mask(first, None), axis, count)
    columns = min(COLUMNS, len(volumes))
    rows = -(-len(volumes) // columns)
    pictures = []
    for index in chosen:
        figure, axes = panel_grid([""] * columns, rows, first.size_mm(axis))
        for ax, (name, volume) in zip(axes.flat, volumes.items(), strict=False):
            show_slice(ax, volume, axis, index, _WHOLE)
            _write_name(ax, name)
        annotate(axes[0, 0], first, axis, index)
        caption = f"{case}, {first.position(axis, index)} (slice {index}): {', '.join(images)}."
        pictures.append(Picture(figure, caption, f"Slice {index} of case {case} fused by each method"))
    return pictures


def write_comparison(out: Path, scores: Comparison, pictures: Sequence[Picture], making: Making) -> Path:
    """Write ``comparison.html``, and each table as CSV, the one over slices also as LaTeX; return the page."""
    slices, cases, wins = score_table(scores), score_table(scores, over="cases"), wins_table(scores)
    tables = {TABLE: slices, f"{TABLE}_cases": cases, "wins": wins}
    for name, table in tables.items():
        write_table_csv(out / f"{name}.csv", table)
    write_latex(out / f"{TABLE}.tex", slices, label="tab:fusion")
    sections = [
        Section(
            heading="Scores",
            text=[
                "Each slice is scored against its CT and MR at 8 bit, on the CT grid and after any padding was undone. "
                "EN, SD, SF and AG look at the fused image alone and also rise with noise: judge by MI, VIF, Qabf and "
                "SSIM together, and by the pictures.",
                *undefined(scores),
            ],
            facts=_facts(scores, slices.header[1:], slices),
            tables=[table for table in tables.values() if table.rows],
        ),
        Section(
            heading="Pictures",
            text=["CT and MR as the methods saw them, all images in the same grey range from 0 to 1."],
            figures=pictures,
        ),
        _making_section(making),
        Section(
            heading="Limits",
            text=[
                "Slices of one patient resemble each other, so the standard deviation over slices says little about "
                "the next patient; the one over cases does, once there are enough cases.",
                "Every trained method had the same data, crops and steps, which may not be what each does best with.",
            ],
        ),
    ]
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    footer = f"Written by spinefuse {__version__} on {made}. Not for diagnosis."
    return write_page(out / PAGE, title="Fusion methods compared", sections=sections, footer=footer)


def _facts(scores: Comparison, names: Sequence[str], table: Table) -> list[Fact]:
    first = next(iter(scores))
    row = table.rows[list(scores).index(first)]
    best = [name for column, name in enumerate(names, start=1) if table.mark(column, row[column])]
    lead = Fact(f"{len(best)} of {len(names)}", f"scores in which {first} is best", ", ".join(best))
    return [Fact(str(len(scores)), "methods", ", ".join(scores)), *([lead] if len(scores) > 1 else [])]


def _making_section(making: Making) -> Section:
    steps = list(dict.fromkeys(step for times in making.steps_s.values() for step in times))
    rows = tuple(
        (method, *(duration(times[step]) if step in times else DASH for step in steps))
        for method, times in making.steps_s.items()
    )
    tables = [Table(("Method", *steps), rows, caption="Time of each step")]
    if making.settings:
        tables.append(Table(("Setting", "Value"), tuple(making.settings.items()), caption="Given for all methods"))
    text = ["These commands trained the methods and made the fused images."]
    return Section(heading="How it was made", text=text, tables=tables, command="\n".join(making.commands))


def _write_name(ax: Axes, name: str) -> None:
    """The method's name in the panel's upper left corner."""
    style: dict[str, Any] = {"color": TEXT, "path_effects": [withStroke(linewidth=2.5, foreground=BACKGROUND)]}
    ax.text(0.03, 0.97, name, ha="left", va="top", fontsize=11, fontweight="bold", transform=ax.transAxes, **style)
