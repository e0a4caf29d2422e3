"""The report's part on fusion: CT | MR | fused, and the metric files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.report.image_panels import fusion_panel
from spinefuse_ext.report.page import Picture, Section
from spinefuse_ext.report.registration_section import MOST_PICTURES
from spinefuse_ext.report.run_folder import Case, RunFolder
from spinefuse_ext.report.tables import Better, MetricsReport, Table, short_names

#: How tables write the scores of a fused image: ours that copying cannot win, then those of the literature.
SHORT_NAMES = {
    "recoverability": "rec",
    "ct_recoverability": "rec CT",
    "mr_recoverability": "rec MR",
    "visibility": "vis",
    "ct_visibility": "vis CT",
    "mr_visibility": "vis MR",
    "false_edges": "false",
    "bone_order": "order",
    "entropy": "EN",
    "mutual_information": "MI",
    "spatial_frequency": "SF",
    "visual_information_fidelity": "VIF",
    "standard_deviation": "SD",
    "average_gradient": "AG",
    "sum_of_correlations_of_differences": "SCD",
    "edge_preservation": "Qabf",
    "structural_similarity": "SSIM",
    "bone_brightness": "bone",
    "soft_tissue_correlation": "soft",
}
#: Those of them that are best when they are small.
LOWER_IS_BETTER = frozenset({"false_edges"})


def fusion_section(run: RunFolder, cases: Sequence[Case]) -> Section:
    """Pictures of the first cases that were fused, and every metric file below ``fusion/**/eval``."""
    fused = [case for case in cases if case.has("ct", "mr", "fused")]
    reports = run.metrics("fusion")
    text = ["Bone should come from the CT; discs, canal and muscle from the MR. Each image has its own grey limits."]
    if not fused:
        text = ["No case holds ct.nii.gz, mr.nii.gz and fused.nii.gz, so there is no picture of the fusion."]
    elif len(fused) > MOST_PICTURES:
        text.append(f"Pictures of the first {MOST_PICTURES} of {len(fused)} cases follow.")
    if not reports:
        text.append("No metric files were found below fusion/ in a folder named eval.")
    return Section(
        heading="Fusion",
        text=text,
        tables=metric_tables(reports),
        figures=[_picture(case) for case in fused[:MOST_PICTURES]],
    )


def metric_tables(reports: dict[str, MetricsReport]) -> list[Table]:
    """The scores of each evaluation: one table of the scores with one value a case, one for each score by class."""
    tables = []
    for folder, report in reports.items():
        single = {name: table for name, table in report.per_case.items() if table.header[1:] == ("class0", "mean")}
        if single:
            tables.append(_scores(single, report, folder))
        elif report.overall:
            rows = tuple(report.overall.items())
            tables.append(Table(("Metric", "Value"), rows, caption=f"Overall values ({folder})", digits=4))
        tables += [_by_class(name, table, folder) for name, table in report.per_case.items() if name not in single]
    return tables


def _scores(single: dict[str, Table], report: MetricsReport, folder: str) -> Table:
    """A row a case, a column a score, and the mean below."""
    first = next(iter(single.values()))
    cases = short_names([str(row[0]) for row in first.rows])
    columns = [[row[1] for row in table.rows] for table in single.values()]
    rows = [(case, *values) for case, *values in zip(cases, *columns, strict=True)]
    if len(cases) > 1:
        rows.append(("mean", *(report.overall.get(name, "") for name in single)))
    header = ("Case", *(SHORT_NAMES.get(name.removeprefix("val_"), name) for name in single))
    return Table(header, tuple(rows), caption=f"Scores per case ({folder}); higher is better in each")


def _by_class(name: str, table: Table, folder: str) -> Table:
    cases = short_names([str(row[0]) for row in table.rows])
    classes = [column for column in table.header[1:] if column.startswith("class")]
    structures = [structure for number, structure in STRUCTURES.items() if number]
    named = dict(zip(classes, structures, strict=True)) if len(classes) == len(structures) else {}
    header = ("Case", *(named.get(column, column) for column in table.header[1:]))
    rows = tuple((case, *row[1:]) for case, row in zip(cases, table.rows, strict=True))
    better: dict[str, Better] = {} if "dice" not in name and "iou" not in name else dict.fromkeys(header[1:], "high")
    return replace(table, header=header, rows=rows, caption=f"{name} per case ({folder})", better=better)


def _picture(case: Case) -> Picture:
    volumes = case.volumes("ct", "mr", "fused")
    return Picture(
        fusion_panel(volumes["ct"], volumes["mr"], volumes["fused"]),
        f"{case.name}: CT, registered MR and the fused image, on the CT grid.",
        f"Slices of CT, MR and fused image of case {case.name}",
    )
