"""The page of a comparison of segmentations: overlap of each structure by method, the cases, and pictures of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from spinefuse_ext.metrics.segmentation import NOT_IN_TRUTH
from spinefuse_ext.report.comparison import Comparison, MeanSd, ScoreRow, score_table, undefined
from spinefuse_ext.report.comparison_parts import (
    PAGE,
    TABLE,
    Provenance,
    comparison_provenance,
    footer,
    leading_facts,
    save_tables,
)
from spinefuse_ext.report.image_panels import segmentations_panel
from spinefuse_ext.report.page import Picture, Section, write_page
from spinefuse_ext.report.seed_scores import FALSE_VOLUME, MEAN
from spinefuse_ext.report.tables import Table, Value
from spinefuse_ext.report.views import ImageLike, Limits


def overlap_scores(
    case: str, overlap: Mapping[str, Mapping[str, float]], false_ml: Mapping[str, float] | None = None
) -> ScoreRow:
    """``{structure: {measure: value}}`` of one case as scores ``"measure structure"``, and ``"measure mean"`` of each.

    The mean is over the structures that have a value. ``false_ml`` are the volumes predicted of structures that the
    truth does not hold, as scores ``"false_volume_ml structure"``.
    """
    values: dict[str, float] = {}
    for measure in dict.fromkeys(name for measures in overlap.values() for name in measures):
        of_structures = {name: measures[measure] for name, measures in overlap.items()}
        finite = [value for value in of_structures.values() if math.isfinite(value)]
        of_structures[MEAN] = statistics.fmean(finite) if finite else math.nan
        values.update({f"{measure} {name}": value for name, value in of_structures.items()})
    if false_ml is not None:
        values.update({f"{FALSE_VOLUME} {name}": false_ml.get(name, math.nan) for name in overlap})
    return ScoreRow(case, None, values)


def not_in_truth(scores: Comparison) -> list[str]:
    """A sentence for each structure that the truth of some cases does not hold, with what was predicted all the same.

    That is told from the false volumes of ``overlap_scores``.
    """
    told = []
    for name in dict.fromkeys(name for scored in scores.values() for one in scored for name in one.values):
        if not name.startswith(f"{FALSE_VOLUME} "):
            continue
        lacking = {method: _finite(scored, name) for method, scored in scores.items()}
        cases = dict.fromkeys(case for volumes in lacking.values() for case in volumes)
        if cases:
            structure, total = (
                name.removeprefix(f"{FALSE_VOLUME} "),
                len({one.case for s in scores.values() for one in s}),
            )
            false = [f"{method} {max(each.values()):.3g} ml" for method, each in lacking.items() if any(each.values())]
            extra = f"; predicted there all the same, at most: {', '.join(false)}" if false else ""
            told.append(
                f"{structure} is {NOT_IN_TRUTH} of {len(cases)} of {total} cases ({', '.join(cases)}) and not scored "
                f"there{extra}."
            )
    return told


def _finite(scored: Sequence[ScoreRow], name: str) -> dict[str, float]:
    return {one.case: value for one in scored if math.isfinite(value := one.values.get(name, math.nan))}


def of_measure(scores: Comparison, measure: str) -> dict[str, list[ScoreRow]]:
    """The scores of one measure, by structure."""
    prefix = f"{measure} "
    return {
        method: [
            ScoreRow(
                one.case, one.index, {n.removeprefix(prefix): v for n, v in one.values.items() if n.startswith(prefix)}
            )
            for one in scored
        ]
        for method, scored in scores.items()
    }


def difference_table(scores: Comparison, digits: int = 3) -> Table:
    """Mean and SD over cases of the first method's score less each other's, case by case, a row a method.

    The cases are paired, so what makes one case harder than another for all methods drops out.
    """
    first, *others = scores
    mine = {one.case: one.values for one in scores[first]}
    names = list(scores[first][0].values)
    rows: list[tuple[Value, ...]] = []
    for other in others:
        pairs = [(mine[one.case], one.values) for one in scores[other] if one.case in mine]
        rows.append((other, *(MeanSd.of([ours[name] - theirs[name] for ours, theirs in pairs]) for name in names)))
    caption = f"Dice of {first} less that of each other, mean ± standard deviation over the same cases"
    return Table((f"{first} less", *names), tuple(rows), caption=caption, digits=digits)


def case_table(scores: Comparison) -> Table:
    """The mean over structures of each case, a row a case, a column a method."""
    cases = list(dict.fromkeys(one.case for scored in scores.values() for one in scored))
    of_case = {method: {one.case: one.values[MEAN] for one in scored} for method, scored in scores.items()}
    rows: list[tuple[Value, ...]] = [
        (case, *(values.get(case, math.nan) for values in of_case.values())) for case in cases
    ]
    return Table(("Case", *scores), tuple(rows), caption="Dice of each case, mean over structures")


def segmentation_picture(
    case: str,
    results: Mapping[str, tuple[ImageLike, ImageLike]],
    label: ImageLike,
    axis: int,
    limits: Mapping[str, Limits],
) -> Picture:
    """Image | truth | prediction | errors of one slice, a row a method."""
    figure = segmentations_panel(results, label, axis=axis, limits=limits)
    caption = f"{case}: a row for each of {', '.join(results)}; one slice through the middle of what is labelled."
    return Picture(figure, caption, f"Segmentations of case {case} by each method")


def write_segmentation_comparison(
    out: Path,
    scores: Comparison,
    pictures: Sequence[Picture],
    provenance: Provenance,
    *,
    title: str,
    notes: Sequence[str],
) -> Path:
    """Write ``comparison.html`` and its tables as CSV, the one of Dice also as LaTeX; return the page."""
    dice, jaccard = of_measure(scores, "dice"), of_measure(scores, "jaccard")
    tables = {TABLE: _titled(dice, "Dice"), f"{TABLE}_jaccard": _titled(jaccard, "Jaccard")}
    tables["differences"], tables["cases"] = difference_table(dice), case_table(dice)
    save_tables(out, tables, label="tab:segmentation")
    sections = [
        Section(
            heading="Scores",
            text=[
                "Overlap of each structure with the truth over the whole volume, on the grid of the label. The mean of "
                "a case is over its structures.",
                *not_in_truth(scores),
                *undefined(dice),
            ],
            facts=leading_facts(scores, tables[TABLE]),
            tables=[table for table in tables.values() if table.rows],
        ),
        Section(
            heading="Pictures",
            text=[
                "Colours as in the legend under each picture; the last column shows only what is wrong. Of an input "
                "with several channels the first is shown."
            ],
            figures=pictures,
        ),
        comparison_provenance(provenance, "trained the networks and labelled the cases"),
        Section(heading="Limits", text=notes),
    ]
    return write_page(out / PAGE, title=title, sections=sections, footer=footer())


def _titled(scores: Comparison, measure: str) -> Table:
    table = score_table(scores)
    caption = f"{measure}, {table.caption[0].lower()}{table.caption[1:]}"
    return replace(table, caption=caption)
