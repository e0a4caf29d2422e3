"""The report's parts about the run itself: summary, training curves, how it was made, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spinefuse_ext.enums import SemiSegKeys
from spinefuse_ext.report.curves import Curve, loss_curves, read_curves
from spinefuse_ext.report.page import Fact, Picture, Section
from spinefuse_ext.report.registration_section import registration_facts
from spinefuse_ext.report.run_folder import Case, RunFolder
from spinefuse_ext.report.segmentation_section import Overlap, segmentation_facts
from spinefuse_ext.report.tables import Table

#: What a semi-supervised training tells of its pseudo-labels, by tag.
_TEACHING: dict[str, str] = {
    str(SemiSegKeys.TEACHER): "steps in which the second network taught",
    str(SemiSegKeys.SWITCHED): "steps in which the teacher changed",
    str(SemiSegKeys.DISAGREEMENT): "labelled voxels named differently",
    str(SemiSegKeys.PSEUDO_ENTROPY): "entropy of the pseudo-label",
    str(SemiSegKeys.CONSISTENCY_WEIGHT): "weight of the pseudo-label",
}
_TRAININGS = {"fusion": "Fusion network", "semiseg": "Segmentation networks"}


def summary_section(run: RunFolder, cases: Sequence[Case], scores: Mapping[str, Overlap]) -> Section:
    """The numbers first."""
    facts = [*registration_facts(cases), *segmentation_facts(scores)]
    timings_s = run.timings_s()
    if timings_s:
        facts.append(Fact(duration(sum(timings_s.values())), "Time of the whole run", f"{len(timings_s)} steps"))
    fused = sum(case.has("fused") for case in cases)
    segmented = sum(case.has("prediction") for case in cases)
    text = (
        f"{len(cases)} cases: {fused} with a fused image, {segmented} with a predicted segmentation."
        if cases
        else "No folder cases/ was found, so this report shows no images."
    )
    return Section(heading="Summary", text=[text], facts=facts)


def curves_section(run: RunFolder) -> Section:
    """Per training one figure of its losses and one of its other scalars."""
    text, figures = [], []
    for part, name in _TRAININGS.items():
        curves = read_curves(run.folder / part) if (run.folder / part).is_dir() else {}
        if not curves:
            text.append(f"{name}: no TensorBoard event files were found below {part}/.")
        figures += _training_pictures(name, curves)
    return Section(heading="Training curves", text=text, figures=figures)


def provenance_section(run: RunFolder) -> Section:
    """How long each step took, and the commands."""
    timings_s = run.timings_s()
    rows = tuple((step, duration(seconds)) for step, seconds in timings_s.items())
    tables = [Table(("Step", "Time"), (*rows, ("all steps", duration(sum(timings_s.values())))))] if rows else []
    commands = run.commands()
    text = ["These commands, in this order, made everything above."]
    if not commands:
        text = ["No commands.txt was found, so the commands of this run are not known."]
    return Section(heading="How it was made", text=text, tables=tables, command=commands)


def limits_section(cases: Sequence[Case], scores: Mapping[str, Overlap]) -> Section:
    """What the numbers above do not say."""
    measured = len(scores["Dice"])
    text = [
        "Not for diagnosis. These are results of research software on the cases named above and on no others.",
        "Registration is judged at landmarks, or at the vertebrae that registered it; away from them it may be worse, "
        "above all where the spine bends between CT and MR.",
    ]
    if measured:
        text.append(
            f"Dice and Jaccard come from {measured} case{'s' * (measured > 1)}; they say how the network does on data "
            "like these. Whether these cases were kept out of training is decided by the data list of the run, "
            "which lets no patient stand in two sections."
        )
    if any(case.has("fused") for case in cases):
        text.append("A fused image is for looking: its grey values are neither HU nor MR signal.")
    return Section(heading="Limits", text=text)


def duration(seconds: float) -> str:
    """``8.4 s``, ``2 min 5 s`` or ``1 h 3 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _training_pictures(name: str, curves: Mapping[str, Curve]) -> list[Picture]:
    losses = {tag: points for tag, points in curves.items() if "loss" in tag.lower()}
    taught = {tag: _TEACHING.get(tag.split("/")[-1]) for tag in curves}
    teaching = {told: curves[tag] for tag, told in taught.items() if told}
    metrics = {tag: points for tag, points in curves.items() if tag not in losses and not taught[tag]}
    groups = (
        ("losses", losses, "loss", "iteration"),
        ("who taught whom", teaching, "0 to 1", "iteration"),
        ("metrics", metrics, "value", "epoch"),
    )
    return [
        Picture(
            loss_curves(shown, f"{name}: {kind}", value_name=value, step_name=step),
            f"{name}, {kind}. Last values: {', '.join(f'{tag} {points[-1][1]:.4g}' for tag, points in shown.items())}.",
            f"{kind} of the {name.lower()} over training",
        )
        for kind, shown, value, step in groups
        if shown
    ]
