"""The page of a comparison of fusion methods: table 2, who wins where, and the pictures to judge the numbers by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from spinefuse_ext.report.comparison import Comparison, score_names, score_table, undefined, wins_table
from spinefuse_ext.report.comparison_parts import (
    PAGE,
    TABLE,
    Provenance,
    comparison_provenance,
    footer,
    leading_facts,
    save_tables,
)
from spinefuse_ext.report.drawing import annotate, panel_grid, show_slice, write_name
from spinefuse_ext.report.page import Picture, Section, write_page
from spinefuse_ext.report.ranks import rank_table
from spinefuse_ext.report.registration_figures import bone_mask
from spinefuse_ext.report.views import ImageLike, Limits, as_volumes, informative_slices

#: Panels in a row; more than these are spread over further rows, so that none gets too small to be judged.
COLUMNS = 5
_WHOLE: Limits = (0.0, 1.0)


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
    rows = -(-len(volumes) // COLUMNS)
    columns = -(-len(volumes) // rows)
    pictures = []
    for index in chosen:
        figure, axes = panel_grid([""] * columns, rows, first.size_mm(axis))
        for ax, (name, volume) in zip(axes.flat, volumes.items(), strict=False):
            show_slice(ax, volume, axis, index, _WHOLE)
            write_name(ax, name)
        annotate(axes[0, 0], first, axis, index)
        caption = f"{case}, {first.position(axis, index)} (slice {index}): {', '.join(images)}."
        pictures.append(Picture(figure, caption, f"Slice {index} of case {case} fused by each method"))
    return pictures


def write_comparison(
    out: Path, scores: Comparison, pictures: Sequence[Picture], provenance: Provenance, references: Collection[str] = ()
) -> Path:
    """Write ``comparison.html``, and each table as CSV, the one over slices also as LaTeX; return the page.

    ``references`` are methods that are scored but not ranked.
    """
    slices, cases, wins = score_table(scores), score_table(scores, over="cases"), wins_table(scores)
    tables = {TABLE: slices, f"{TABLE}_cases": cases, "wins": wins}
    save_tables(out, {**tables, "ranks": rank_table(scores, unranked=references)}, label="tab:fusion")
    sections = [
        Section(
            heading="Scores",
            text=[
                "Each slice is scored against its CT and MR at 8 bit, on the CT grid and after any padding was undone. "
                "Judge by what an image that copies one scan cannot have, and by the pictures: rec is the smaller "
                "share of the variance of CT and of MR that a small regression, fitted to the training cases of the "
                "same method, tells from the fused image as it is seen; vis the smaller share of the edges of CT and "
                "of MR that are seen in it; false the share of its edges that are in neither (lower is better); "
                "order the share of bone that is brighter than what surrounds it.",
                "EN, SD, SF and AG look at the fused image alone and also rise with noise. MI, VIF, Qabf and SSIM "
                "reward copying: an image that shows one modality and drops the other scores high in MI and VIF (add "
                "ct and mr to the methods to see how high). Nor do these four mind bone that fades: bone is its "
                "brightness as a part of that in CT, soft the correlation with MR outside bone.",
                *(
                    ["rec is missing, as the list has no training cases to fit the regression to."]
                    if "recoverability" not in score_names(scores)
                    else []
                ),
                *undefined(scores),
            ],
            facts=leading_facts(scores, slices),
            tables=[table for table in tables.values() if table.rows],
        ),
        Section(
            heading="Pictures",
            text=["CT and MR as the methods saw them, all images in the same grey range from 0 to 1."],
            figures=pictures,
        ),
        comparison_provenance(provenance, "trained the methods and made the fused images"),
        Section(
            heading="Limits",
            text=[
                "Slices of one patient resemble each other, so the standard deviation over slices says little about "
                "the next patient; the one over cases does, once there are enough cases.",
                "Every trained method had the same data, crops and steps, which may not be what each does best with.",
            ],
        ),
    ]
    return write_page(out / PAGE, title="Fusion methods compared", sections=sections, footer=footer())
