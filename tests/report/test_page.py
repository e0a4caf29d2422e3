from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from spinefuse_ext.report import Fact, Picture, Section, Table, write_page

HOSTILE = '<script>alert("x")</script>'


def _figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1])
    return figure


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(page: Path) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.tags


@pytest.fixture
def page(tmp_path: Path) -> Path:
    section = Section(
        heading=f"Heading {HOSTILE}",
        text=[f"Text {HOSTILE}"],
        facts=[Fact("1.2 mm", HOSTILE, HOSTILE)],
        tables=[Table(("case", HOSTILE), ((HOSTILE, 0.5), ("b", 0.7), ("c", 0.6)), HOSTILE, better={HOSTILE: "high"})],
        figures=[Picture(_figure(), HOSTILE, f'"onerror="{HOSTILE}')],
        command=f"spinefuse report {HOSTILE}",
    )
    return write_page(tmp_path / "out" / "page.html", title=HOSTILE, sections=[section], footer=HOSTILE)


def test_page_needs_nothing_but_itself(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/png;base64,|#)""", html)
    assert not re.search(r"https?://|@import|url\(", html)
    assert not {tag for tag, _ in _tags(page)} & {"script", "link", "iframe", "object"}


def test_pictures_are_whole_pngs_with_alternative_text(page: Path) -> None:
    images = [attributes for tag, attributes in _tags(page) if tag == "img"]
    assert len(images) == 1
    data = base64.b64decode((images[0]["src"] or "").removeprefix("data:image/png;base64,"), validate=True)
    assert data.startswith(b"\x89PNG")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert images[0]["alt"] == f'"onerror="{HOSTILE}'
    assert "onerror" not in images[0]


def test_hostile_text_stays_text_everywhere(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 14  # title 2, table 3, fact 2, picture 2, one each of the others


def test_numbers_marks_commands_and_notice_are_shown(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert re.search(r'class="best"[^>]*>0\.700<', html)
    assert re.search(r'class="worst"[^>]*>0\.500<', html)
    assert "<pre><code>spinefuse report" in html
    assert "Not for diagnosis" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_failed_page_leaves_the_old_one(tmp_path: Path) -> None:
    page = write_page(tmp_path / "page.html", title="old", sections=[])
    broken = Table(("a", "b"), ((1.0, 2.0, 3.0),), better={"a": "high"})  # a row longer than its header
    with pytest.raises(IndexError):
        write_page(page, title="new", sections=[Section("x", tables=[broken])])
    assert "<title>old</title>" in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
