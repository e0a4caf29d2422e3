"""Every page that this package writes, made of names that would be markup, scripts, templates or formulas."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import torch

from spinefuse_ext.report import build_report
from spinefuse_ext.report.comparison import ScoreRow
from spinefuse_ext.report.comparison_page import write_comparison
from spinefuse_ext.report.comparison_parts import Provenance
from spinefuse_ext.report.method_comparison import MethodRuns, Roles, write_method_comparison
from spinefuse_ext.report.segmentation_comparison import overlap_scores, write_segmentation_comparison

#: Each would set the title of the page, or stop the drawing of a figure.
HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "\"><svg onload=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    "</style></title><iframe srcdoc='<script>parent.document.title=1</script>'>",
    "javascript:document.title='owned'",
    "{{ 7 * 7 }}{% include 'x' %}",
    r"$\frac{1$",
    "<!-- &lt;b&gt; \x1b]0;owned\x07",
)
_EXECUTABLE = {
    "script",
    "iframe",
    "object",
    "embed",
    "svg",
    "link",
    "base",
    "form",
    "math",
    "template",
    "audio",
    "video",
}


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_names_are_text(path: Path, names: tuple[str, ...]) -> None:
    page = Page(path)
    assert not page.tags & _EXECUTABLE
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("srcdoc", "style", "action")]
    links = [value for name, value in page.attributes if name in ("src", "href")]
    assert all(value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "#")) for value in links)
    assert page.text.count("<script>") >= sum("<script>" in name for name in names)
    assert "49" not in re.findall(r"\b49\b", page.text)  # no template was run
    for name in names:
        assert name in page.text


def test_the_report_of_a_run(run_folder: Path, save_metrics: Callable[..., None]) -> None:
    cases, points = run_folder / "cases", (HOSTILE[1], HOSTILE[3], HOSTILE[6], HOSTILE[7])
    for file in (*cases.rglob("registration.json"), *cases.rglob("ct.mrk.json")):
        named = re.sub(r'"L([1-4])"', lambda found: json.dumps(points[int(found[1]) - 1]), file.read_text())
        file.write_text(named)
    names = tuple(name.replace("/", "\N{DIVISION SLASH}") for name in (HOSTILE[0], HOSTILE[7]))
    for case, name in zip(sorted(cases.iterdir()), names, strict=True):
        case.rename(cases / name)
    scored = [f"/data/{name}/fused.nii.gz" for name in names]
    save_metrics(run_folder / "fusion" / "eval", scored, {"entropy": torch.tensor([[1.0], [2.0]])})
    (run_folder / "commands.txt").write_text("\n".join(HOSTILE[:7]))
    (run_folder / "timings.json").write_text(json.dumps(dict.fromkeys(HOSTILE[:7], 1.0)))
    assert_names_are_text(build_report(run_folder), (*names, *points, *HOSTILE[:7]))


def test_the_comparisons(tmp_path: Path) -> None:
    scores = {name: [ScoreRow(case, 0, {"entropy": 1.0 + n}) for n, case in enumerate(HOSTILE[:2])] for name in HOSTILE}
    provenance = Provenance({name: {HOSTILE[0]: 61.0} for name in HOSTILE}, {HOSTILE[1]: HOSTILE[2]}, list(HOSTILE[:7]))
    assert_names_are_text(write_comparison(tmp_path / "1", scores, [], provenance), HOSTILE[:8])

    scored = [overlap_scores(case, {HOSTILE[1]: {"dice": 0.5, "jaccard": 0.5}}) for case in HOSTILE[:3]]
    overlaps = dict.fromkeys(HOSTILE, scored)
    page = write_segmentation_comparison(tmp_path / "2", overlaps, [], provenance, title=HOSTILE[0], notes=HOSTILE[:7])
    assert_names_are_text(page, HOSTILE[:8])

    seeds = {name: dict.fromkeys((0, 1), scored) for name, scored in overlaps.items()}
    runs = MethodRuns(seeds, seeds, missing=list(HOSTILE[:7]))
    page = write_method_comparison(tmp_path / "3", runs, provenance, Roles((HOSTILE[0],), HOSTILE[1]), title=HOSTILE[4])
    assert_names_are_text(page, HOSTILE[:8])
