"""The page of a comparison of segmentation methods over seeds: table 3, tests, box plots and pictures."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spinefuse_ext.report.boxes import box_plot
from spinefuse_ext.report.comparison_parts import PAGE, TABLE, Provenance, comparison_provenance, footer, save_tables
from spinefuse_ext.report.curves import Curve, loss_curves
from spinefuse_ext.report.method_tables import (
    DICE,
    best_checkpoint_table,
    best_control,
    gap_of,
    gap_table,
    lead,
    main_table,
    measure_table,
    p_text,
    paired_table,
    warnings_of,
)
from spinefuse_ext.report.page import Card, Fact, Picture, Section, write_page
from spinefuse_ext.report.seed_scores import (
    MEAN,
    SeedScores,
    mean_over_seeds,
    measure,
    measures,
    undefined_scores,
    values_of,
    write_all_scores,
)
from spinefuse_ext.report.segmentation_comparison import case_table, not_in_truth, of_measure
from spinefuse_ext.report.statistics import LEVEL, RESAMPLES, smallest_p
from spinefuse_ext.report.tables import DASH, Table, Value

_ALPHA = 0.05


@dataclass(frozen=True)
class Roles:
    """Which methods are the supervised controls, and which one had all labels; both are told apart from the rivals."""

    controls: Collection[str] = ()
    all_labels: str = ""


@dataclass(frozen=True)
class MethodRuns:
    """What the runs of a comparison left: scores of the last and the best checkpoint, protocol, pictures.

    ``protocol`` are the tables that say what was equal and what differed; ``missing`` names the runs not yet done.
    ``curves`` are the validation Dice of each method over its training.
    """

    last: SeedScores
    best: SeedScores
    protocol: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    missing: Sequence[str] = field(default_factory=list)


def write_method_comparison(out: Path, runs: MethodRuns, provenance: Provenance, roles: Roles, *, title: str) -> Path:
    """Write ``comparison.html``, and every table as CSV, table 3 also as LaTeX; return the page.

    Raises:
        ValueError: no scores.
    """
    if not any(cases for seeds in runs.last.values() for cases in seeds.values()):
        raise ValueError("Expected scores of at least one run, got none.")
    names, references = measures(runs.last), [roles.all_labels]
    tables: dict[str, Table] = {TABLE: main_table(runs.last, references)}
    tables |= {f"{TABLE}_{name}": measure_table(runs.last, name, references) for name in names}
    tables |= {f"tests_{name}": paired_table(runs.last, name, references) for name in names}
    tables["gap"] = gap_table(runs.last, roles.controls, roles.all_labels)
    tables[f"{TABLE}_best"] = best_checkpoint_table(runs.last, runs.best)
    tables["cases"] = case_table(of_measure(mean_over_seeds(runs.last), DICE))
    save_tables(out, tables, label="tab:semiseg")
    write_all_scores(out / "all_scores.csv", runs.last)
    sections = [
        *_warning_sections(runs, roles),
        _score_section(runs.last, tables, references),
        _test_section(runs.last, tables[f"tests_{DICE}"]),
        _gap_section(runs.last, tables["gap"], roles),
        _box_section(runs.last, names),
        _curve_section(runs.curves),
        _picture_section(runs.pictures),
        Section(
            heading="Other measures and the best checkpoint",
            text=[
                "The tables above are of the last checkpoint: the best one was chosen on the validation cases, so it "
                "flatters itself wherever these are scored.",
                *not_in_truth(mean_over_seeds(runs.last)),
                *undefined_scores(runs.last),
            ],
            tables=[tables[f"{TABLE}_best"], *(tables[f"{TABLE}_{name}"] for name in names if name != DICE)],
        ),
        _protocol_section(runs.protocol),
        comparison_provenance(provenance, "trained the networks and labelled the cases"),
        _limits_section(),
    ]
    sections = [section for section in sections if section.tables or section.figures or section.cards or section.text]
    return write_page(out / PAGE, title=title, sections=sections, footer=footer())


def _warning_sections(runs: MethodRuns, roles: Roles) -> list[Section]:
    cards = [
        Card(f"warning-{place}", sentence.split()[0], "worse than supervised", "bad", sentence)
        for place, sentence in enumerate(warnings_of(runs.last, roles.controls, [roles.all_labels]))
    ]
    told = [f"Not on this page, as it is not finished: {sentence}" for sentence in runs.missing]
    return [Section(heading="Warnings", text=told, cards=cards)] if cards or told else []


def _score_section(scores: SeedScores, tables: Mapping[str, Table], references: Collection[str]) -> Section:
    first, gap = next(iter(scores)), tables["gap"]
    place, ranked = lead(scores, references)
    seeds = sorted({seed for runs in scores.values() for seed in runs})
    cases = len(next(iter(mean_over_seeds(scores).values())))
    facts = [
        Fact(str(len(scores)), "methods", ", ".join(scores)),
        Fact(str(len(seeds)), "seeds", ", ".join(map(str, seeds))),
        Fact(str(cases), "cases scored", "the unit of every statistic"),
        Fact(f"{place} of {ranked}", f"place of {first} by mean Dice"),
        *(Fact(f"{float(row[1]):.0%}", f"of the gap closed by {first}") for row in gap.rows if _is_known(row, first)),
    ]
    text = [
        "Scores over whole volumes on the grid of the label, with the last checkpoint. A case's score is its mean over "
        "structures and seeds; the standard deviation over cases says how cases differ, the one over seeds how much of "
        "a difference another random start would change.",
        f"Intervals are percentile bootstraps of the mean over cases, {RESAMPLES} resamples, seed 0; with few cases "
        "they are too narrow.",
        "F and P are of the one-way analysis of variance that such tables print. It takes the methods' scores for "
        "independent samples, but all methods were scored on the same cases: do not judge by it. The paired tests "
        "below do not need that.",
    ]
    shown = [tables[TABLE], tables[f"{TABLE}_{DICE}"], tables["cases"]]
    return Section(heading="Scores", text=text, facts=facts, tables=shown)


def _is_known(row: Sequence[Value], method: str) -> bool:
    return row[0] == method and isinstance(row[1], float) and math.isfinite(row[1])


def _test_section(scores: SeedScores, table: Table) -> Section:
    if not table.rows:
        return Section(heading="Paired tests")
    cases = len(next(iter(mean_over_seeds(scores).values())))
    alone, together = smallest_p(cases), min(1.0, len(table.rows) * smallest_p(cases))
    text = [
        "Each case is compared with itself, so what makes one case harder than another for all methods drops out. "
        "Where the interval of a difference holds 0, these cases do not tell the two methods apart. The correction is "
        "for the comparisons of this measure; the other measures' tests are in tests_<measure>.csv.",
        f"With {cases} case{'s' * (cases != 1)} the smallest P this test can give is {p_text(alone)}, and "
        f"{p_text(together)} after correction for {len(table.rows)} comparisons.",
    ]
    if alone >= _ALPHA:
        text.append("So no difference can be significant at 0.05 here, however large it is: more cases are needed.")
    elif together >= _ALPHA:
        text.append(
            "So no corrected P can fall below 0.05 here, however large a difference is: name fewer methods, or score "
            "more cases."
        )
    return Section(heading="Paired tests", text=text, tables=[table])


def _gap_section(scores: SeedScores, table: Table, roles: Roles) -> Section:
    heading = "What the unlabelled images are worth"
    control = best_control(scores, roles.controls)
    if control is None or roles.all_labels not in scores:
        wanted = " or ".join(roles.controls)
        told = f"The share of the gap that is closed needs {wanted}, and {roles.all_labels}: name them with --methods."
        return Section(heading=heading, text=[told])
    gap, low, high = gap_of(scores, control, roles.all_labels)
    text = [
        f"The share of the gap between few and all labels that a method closes: its mean Dice less that of {control}, "
        f"the better supervised control, divided by the Dice of {roles.all_labels} less that of {control}. "
        f"{roles.all_labels} is the supervised UNet with the labels of the unlabelled cases too, after the same steps.",
        f"The gap is {gap:.3f} Dice, {LEVEL:.0%} interval {low:.3f} to {high:.3f}.",
    ]
    if not gap > 0:
        text.append("All labels are no better than few here, so the share is not defined.")
    elif not low > 0:
        text.append("These cases do not show that there is a gap at all, so its share says little.")
    return Section(heading=heading, text=text, tables=[table] if table.rows else [])


def _box_section(scores: SeedScores, names: Sequence[str]) -> Section:
    averaged, figures = mean_over_seeds(scores), []
    for name in names:
        title = measure(name).title
        values = {method: values_of(averaged, method, f"{name} {MEAN}") for method in scores}
        caption = f"{title}, mean over structures and seeds: every dot is a case, {measure(name).better}er is better."
        figures.append(Picture(box_plot(values, title), caption, f"Box plot of {title} by method"))
    return Section(heading="Box plots", figures=figures)


def _curve_section(curves: Mapping[str, Curve]) -> Section:
    """How each method learnt, its supervised controls among them."""
    heading = "While they learnt"
    if not any(curves.values()):
        return Section(heading=heading)
    figure = loss_curves(curves, "Validation", value_name="mean Dice", step_name="epoch")
    caption = (
        "Dice of the validation cases, mean over structures, cases and seeds, at each validation. A method that "
        "falls while its supervised control rises is learning from wrong pseudo-labels."
    )
    return Section(heading=heading, figures=[Picture(figure, caption, "Validation Dice of each method over training")])


def _picture_section(pictures: Sequence[Picture]) -> Section:
    text = [
        "One row of panels a case (it goes on in a second and third row where there are many methods), with the first "
        "seed and the last checkpoint. The white line is the outline of the truth: colour outside of it is extra, a "
        "hole inside of it is missed. The number after a name is the case's Dice, mean over structures."
    ]
    return Section(heading="Pictures", text=text if pictures else [], figures=pictures)


def _protocol_section(tables: Sequence[Table]) -> Section:
    text = [
        "Every method was given the same cases in the same sections, crops, augmentation, batch sizes, steps and "
        "seeds, and the last checkpoint is scored whatever its validation said. What differs is what makes the method: "
        "network, loss, handlers, and whether it sees the unlabelled images. Whether a setting was chosen with a look "
        "at the scored cases is for whoever ran this to say."
    ]
    return Section(heading="Equal protocol", text=text if tables else [], tables=tables)


def _limits_section() -> Section:
    text = [
        "Equal steps and learning rate need not be what each method does best with, nor what its authors used.",
        "Few scored cases say little about the next patient, whatever the number of seeds.",
        "All labels with the same number of steps need not be the best that all labels can give.",
    ]
    return Section(heading="Limits", text=text)


def protocol_tables(
    settings: Mapping[str, Mapping[str, Value]], parts: Mapping[str, Mapping[str, Value]]
) -> list[Table]:
    """What was equal for all methods, and by method what was not.

    Args:
        settings: values of settings by name, by method; those that differ between methods go to the second table.
        parts: what makes a method (network, loss, ...) by name, by method.
    """
    names = list(dict.fromkeys(name for values in settings.values() for name in values))
    of_name = {name: [values.get(name, DASH) for values in settings.values()] for name in names}
    equal = [name for name in names if len({str(value) for value in of_name[name]}) == 1]
    differing = [name for name in names if name not in equal]
    same = Table(
        ("Setting", "Value"), tuple((name, of_name[name][0]) for name in equal), caption="The same for all methods"
    )
    columns = [*dict.fromkeys(name for made in parts.values() for name in made), *differing]
    rows: list[tuple[Value, ...]] = [
        (method, *({**made, **settings.get(method, {})}.get(name, DASH) for name in columns))
        for method, made in parts.items()
    ]
    own = Table(("Method", *columns), tuple(rows), caption="What differs", prose=frozenset(columns))
    return [table for table in (same, own) if table.rows]
