"""From the folder of a run to its report page."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from spinefuse_ext import __version__
from spinefuse_ext.files import check_output_file
from spinefuse_ext.report.fusion_section import fusion_section
from spinefuse_ext.report.page import write_page
from spinefuse_ext.report.registration_section import registration_section
from spinefuse_ext.report.run_folder import open_run
from spinefuse_ext.report.run_sections import curves_section, limits_section, provenance_section, summary_section
from spinefuse_ext.report.segmentation_section import overlaps, segmentation_section


def build_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run as one HTML file and return its path.

    Every part of the folder may be absent; the page then says what was not found. The layout:
    ``cases/<case>/{ct,mr,mr_before,fused,label,prediction}.nii.gz`` and ``registration.json``, ``fusion/`` and
    ``semiseg/`` with TensorBoard files and metric files below ``eval/``, ``commands.txt``, ``timings.json``.

    Args:
        folder: the run's folder.
        out: the page; without it ``report.html`` in the folder.

    Raises:
        MissingPathError: the folder does not exist or holds no part of a run.
        ImageReadError: an image cannot be read, or images of one case lie on different grids.
        SpinefuseError: a JSON or metric file is not what it should be.
    """
    run = open_run(folder)
    page = check_output_file(run.folder / "report.html" if out is None else out)
    cases = run.cases()
    scores = overlaps(cases)
    sections = [
        summary_section(run, cases, scores),
        registration_section(cases),
        fusion_section(run, cases),
        curves_section(run),
        segmentation_section(run, cases, scores),
        provenance_section(run),
        limits_section(cases, scores),
    ]
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return write_page(
        page,
        title="Spine CT and MR: fusion and segmentation",
        sections=sections,
        footer=f"Written by spinefuse {__version__} on {made} from {run.folder.absolute().name}/. Not for diagnosis.",
    )
