"""The report's part on segmentation: overlap with the truth per case and class, and overlays of worst and best case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_iou
from monai.networks import one_hot

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.metrics.segmentation import NOT_IN_TRUTH
from spinefuse_ext.report.fusion_section import metric_tables
from spinefuse_ext.report.image_panels import segmentation_panel
from spinefuse_ext.report.page import Fact, Picture, Section
from spinefuse_ext.report.registration_figures import CT_WINDOW_HU
from spinefuse_ext.report.registration_section import MOST_PICTURES
from spinefuse_ext.report.run_folder import Case, RunFolder
from spinefuse_ext.report.tables import Better, Table

#: Case -> class index -> overlap; NaN where the truth has no such class.
Overlap = Mapping[str, Mapping[int, float]]


def overlaps(cases: Sequence[Case]) -> dict[str, Overlap]:
    """Dice and Jaccard of every class over the whole volume, for the cases that hold label and prediction.

    Classes are those that some prediction holds, and the package's structures that some label holds: of what else a
    label holds, nobody knows that it was to be predicted.
    """
    scored: dict[str, dict[str, dict[int, float]]] = {"Dice": {}, "Jaccard": {}}
    predictable: set[int] = set()
    for case in cases:
        if not case.has("label", "prediction"):
            continue
        label, prediction = (image.as_tensor().round().long() for image in case.volumes("label", "prediction").values())
        predictable |= {*prediction.unique().tolist(), *(set(STRUCTURES) & set(label.unique().tolist()))}
        classes = max(len(STRUCTURES), int(label.max()) + 1, int(prediction.max()) + 1)
        predicted, truth = (one_hot(image[None], num_classes=classes) for image in (prediction, label))
        for name, compute in (("Dice", compute_dice), ("Jaccard", compute_iou)):
            values = compute(predicted, truth, include_background=False)[0]
            scored[name][case.name] = dict(enumerate(values.tolist(), start=1))
    return {
        name: {case: {each: value for each, value in values.items() if each in predictable} for case, values in by_case.items()}
        for name, by_case in scored.items()
    }


def segmentation_section(run: RunFolder, cases: Sequence[Case], scores: Mapping[str, Overlap]) -> Section:
    """Overlap tables, the evaluation's own files, and overlays from the worst case to the best."""
    pictured = _chosen(cases, scores["Dice"])
    reports = run.metrics("semiseg")
    text = []
    if scores["Dice"]:
        text.append("Overlap of each structure over the whole volume, computed from the label files of this report.")
    else:
        text.append("No case holds both label.nii.gz and prediction.nii.gz, so there is no overlap with a truth.")
    if not pictured:
        text.append("No case holds a prediction beside an image, so there is no picture of the segmentation.")
    if not reports:
        text.append("No metric files were found below semiseg/ in a folder named eval.")
    return Section(
        heading="Segmentation",
        text=text,
        tables=[_table(name, values) for name, values in scores.items() if values] + metric_tables(reports),
        figures=[_picture(case) for case in pictured],
    )


def segmentation_facts(scores: Mapping[str, Overlap]) -> list[Fact]:
    """Mean Dice over classes and cases, with the classes' own means."""
    dice = scores["Dice"]
    if not dice:
        return []
    by_class = {value: [case.get(value, np.nan) for case in dice.values()] for value in _classes(dice)}
    means = {value: _mean(numbers) for value, numbers in by_class.items()}
    note = ", ".join(f"{STRUCTURES.get(value, f'class {value}')} {mean:.2f}" for value, mean in means.items())
    count = f"{len(dice)} case" + "s" * (len(dice) > 1)
    return [Fact(f"{_mean(list(means.values())):.3f}", f"Dice against the truth, {count}", note)]


def _classes(overlap: Overlap) -> list[int]:
    return sorted({value for case in overlap.values() for value in case})


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _table(name: str, overlap: Overlap) -> Table:
    classes = _classes(overlap)
    columns = (*(STRUCTURES.get(value, f"class {value}") for value in classes), "mean")
    rows: list[tuple[str | float, ...]] = []
    for case, values in overlap.items():
        numbers = [values.get(value, float("nan")) for value in classes]
        rows.append((case, *(value if np.isfinite(value) else NOT_IN_TRUTH for value in numbers), _mean(numbers)))
    if len(rows) > 1:
        cells = [[row[column] for row in rows] for column in range(1, len(columns) + 1)]
        means = [_mean([value for value in column if isinstance(value, float)]) for column in cells]
        rows.append(("all cases, mean", *means))
    caption = f"{name} per case and structure; the mean of a case is over the structures that its truth holds"
    better: dict[str, Better] = dict.fromkeys(columns, "high") if len(overlap) >= 3 else {}  # the mean is no rival
    return Table(("Case", *columns), tuple(rows), caption=caption, better=better)


def _image_name(case: Case) -> str | None:
    return next((name for name in ("fused", "mr", "ct") if case.has(name)), None)


def _chosen(cases: Sequence[Case], dice: Overlap) -> list[Case]:
    """Worst, middle and best case by mean Dice; without a truth the first cases that hold a prediction."""
    shown = [case for case in cases if case.has("prediction") and _image_name(case)]
    means = {name: _mean([*values.values()]) for name, values in dice.items()}
    measured = sorted((case for case in shown if case.name in means), key=lambda case: means[case.name])
    if not measured:
        return shown[:MOST_PICTURES]
    places = sorted({0, len(measured) // 2, len(measured) - 1})
    return [measured[place] for place in places]


def _picture(case: Case) -> Picture:
    image = _image_name(case) or "ct"
    names = [image, *(["label"] if case.has("label") else []), "prediction"]
    volumes = case.volumes(*names)
    prediction: torch.Tensor = volumes["prediction"]
    limits = CT_WINDOW_HU if image == "ct" else None
    truth = "the truth, the prediction and where they differ" if "label" in volumes else "and the prediction"
    return Picture(
        segmentation_panel(volumes[image], volumes.get("label"), prediction, limits=limits),
        f"{case.name}: the {image.upper() if image != 'fused' else 'fused image'}, {truth}.",
        f"Segmentation overlays of case {case.name}",
    )
