"""The page of a cohort: a table of the cases, worst first, and for each case a strip of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from spinefuse_ext import __version__
from spinefuse_ext.cohort.outcome import Outcome, Verdict, worst_first
from spinefuse_ext.cohort.record import STRIP_FILE
from spinefuse_ext.report.page import Card, Fact, Section, StoredPicture, write_page
from spinefuse_ext.report.tables import DASH, Table, Value

_HEADER = (
    *("Case", "Verdict", "FRE, mm", "TRE, mm", "Largest TRE, mm", "MR covers", "Edge overlap"),
    *("Voxel of CT, MR, mm", "Section", "What to look at"),
)
#: Column of a number, and the word by which the sentence about its limit is told.
_FLAGS = {2: "FRE", 3: "TRE", 5: "covers", 6: "edge overlap", 7: "voxel"}
_SPACINGS = ("ct_spacing_mm", "mr_spacing_mm")
_TONES: Mapping[Verdict, Literal["good", "bad", "plain"]] = {
    Verdict.FAILED: "bad",
    Verdict.OUTSIDE: "bad",
    Verdict.PASSED: "good",
    Verdict.REJECTED: "plain",
}
_MEANING = (
    "FRE is the distance left at the landmarks that the fit used; it flatters the fit. TRE is measured "
    "leave-one-out: each landmark in turn is left out of the fit and the error is taken there. Cases that failed come "
    "first, then those outside the limits, then the others; in each group those with warnings, then by how near "
    "the worst number is to its limit. A click on a name leads to the pictures. Edge overlap says how far steep places "
    "of the CT are steep in the MR near the landmarks; it is 0.15 by chance and depends on the contrast of the scans, "
    "so compare it between like scans only."
)
_LOOK = (
    "One sagittal slice through the landmarks of each case. Warm tiles are CT, cool tiles MR: edges should run on "
    "across tile borders. The orange outline of the CT's bone should follow the dark rim of bone in the MR. To "
    "leave a case out, write the reason into the column reject of its row and run the command again."
)


def write_cohort_page(
    path: Path,
    outcomes: Sequence[Outcome],
    sections: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write the page; every text is escaped.

    Args:
        path: the page.
        outcomes: of every row of the table.
        sections: case -> section, of those that are in the datalist.
        facts: the table, settings and limits.
    """
    ordered = worst_first(outcomes)
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    write_page(
        path,
        title="Cohort of registered CT and MR",
        sections=[
            Section("Summary", facts=_facts(outcomes, sections), text=[_limits(facts["limits"])]),
            Section("Cases, worst first", text=[_MEANING], tables=[_table(ordered, sections)]),
            Section("Pictures, worst first", text=[_LOOK], cards=_cards(ordered, sections)),
            Section("How it was made", command=_made(facts)),
        ],
        footer=f"Written by spinefuse {__version__} on {made}. Not for diagnosis.",
    )


def _facts(outcomes: Sequence[Outcome], sections: Mapping[str, str]) -> list[Fact]:
    counts = {verdict: sum(one.verdict == verdict for one in outcomes) for verdict in Verdict}
    lists = {name: sum(section == name for section in sections.values()) for name in sorted(set(sections.values()))}
    facts = [Fact(str(counts[verdict]), str(verdict).capitalize()) for verdict in Verdict if counts[verdict]]
    listed = ", ".join(f"{count} {name}" for name, count in lists.items())
    facts.append(Fact(f"{len(sections)} of {len(outcomes)}", "In the datalist", listed))
    for name, words in (("fre_rms_mm", "FRE, median case"), ("tre_mean_mm", "Leave-one-out TRE, median case")):
        values = sorted(value for one in outcomes if (value := one.measured(name)) is not None)
        if values:
            facts.append(Fact(f"{values[len(values) // 2]:.2f} mm", words, f"largest {values[-1]:.2f} mm"))
    return facts


def _limits(limits: Mapping[str, float]) -> str:
    return (
        f"A case passes with an FRE up to {limits['max_fre_mm']:g} mm, a mean leave-one-out TRE up to "
        f"{limits['max_tre_mm']:g} mm, voxel edges up to {limits['max_spacing_mm']:g} mm, an MR that covers at least "
        f"{limits['min_covered']:.1%} of the CT grid, and an edge overlap of at least "
        f"{limits['min_edge_overlap']:g}. What was not measured is not judged. The limits are options of the command."
    )


def _table(ordered: Sequence[Outcome], sections: Mapping[str, str]) -> Table:
    rows = tuple(_row(one, sections.get(one.case.case, DASH)) for one in ordered)
    flagged = {
        (row, column)
        for row, one in enumerate(ordered)
        for column, word in _FLAGS.items()
        if any(word in miss for miss in one.misses)
    }
    flagged |= {(row, 1) for row, one in enumerate(ordered) if _TONES[one.verdict] == "bad"}
    links = {row: _anchor(row) for row in range(len(ordered))}
    return Table(_HEADER, rows, digits=2, links=links, flagged=frozenset(flagged), prose=frozenset({"What to look at"}))


def _row(one: Outcome, section: str) -> tuple[Value, ...]:
    covered = one.measured("covered")
    return (
        one.case.case,
        str(one.verdict),
        *(_number(one.measured(name)) for name in ("fre_rms_mm", "tre_mean_mm", "tre_largest_mm")),
        DASH if covered is None else f"{covered:.0%}",
        _number(one.measured("edge_overlap")),
        ", ".join(f"{max(one.measured(name)):.3g}" for name in _SPACINGS) if one.usable else DASH,
        section,
        " ".join(_remarks(one, section)),
    )


def _remarks(one: Outcome, section: str) -> list[str]:
    """What a person should read about a case, a sentence each; file names keep their spelling."""
    misses = [miss[:1].upper() + miss[1:] for miss in one.misses]
    rejected = [f"Rejected: {one.case.reject}"] if one.case.reject else []
    left_out = one.verdict == Verdict.PASSED and section == DASH
    sections = ["In no section: it has no label, but another case of its patient does"] if left_out else []
    remarks = [*rejected, *([one.error] if one.error else []), *misses, *one.warnings, *sections]
    return [remark if remark.endswith((".", "?")) else f"{remark}." for remark in remarks]


def _number(value: float | None) -> Value:
    return DASH if value is None else float(value)


def _anchor(number: int) -> str:
    """Place of a card; a number, as no name of a case can break it."""
    return f"case-{number + 1}"


def _cards(ordered: Sequence[Outcome], sections: Mapping[str, str]) -> list[Card]:
    return [_card(number, one, sections.get(one.case.case, DASH)) for number, one in enumerate(ordered)]


def _card(number: int, one: Outcome, section: str) -> Card:
    strip = one.folder / STRIP_FILE
    picture = StoredPicture(strip, f"CT, MR, tiles and bone outlines of case {one.case.case}") if one.usable else None
    return Card(
        anchor=_anchor(number),
        heading=one.case.case,
        badge=str(one.verdict),
        tone=_TONES[one.verdict],
        line=", ".join([*_fit_words(one), f"patient {one.case.patient}", f"line {one.case.line} of the table"]),
        remarks=_remarks(one, section),
        picture=picture,
    )


def _fit_words(one: Outcome) -> list[str]:
    """The fit in a few words; nothing where there is none."""
    if not one.usable:
        return []
    errors = [("FRE", one.measured("fre_rms_mm")), ("TRE", one.measured("tre_mean_mm"))]
    points, worst = one.measured("landmarks"), one.measured("worst")
    voxels = [" x ".join(f"{edge:.3g}" for edge in one.measured(name)) for name in _SPACINGS]
    return [
        *(f"{name} {value:.2f} mm" for name, value in errors if value is not None),
        *([f"worst point {worst}"] if worst else []),
        f"{one.measured('model')} on {points} landmarks" if points else "no landmarks: errors are not known",
        f"voxels {voxels[0]} mm (CT) and {voxels[1]} mm (MR)",
    ]


def _made(facts: Mapping[str, Any]) -> str:
    settings = {**facts["settings"], **facts["limits"]}
    return "\n".join([f"table: {facts['table']}", *(f"{name}: {value}" for name, value in settings.items())])
