from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from spinefuse_ext.cohort import prepare_cohort

HOSTILE = (
    '<script>alert("x")</script>',
    "../../../outside",
    "\"' onerror='alert(1)",
    "{{ 7 * 7 }} & Ünïcödé 患者",
)


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def page(write_table: Callable[..., Path], tmp_path: Path) -> Page:
    names = {f"p{number}": {"case": name, "patient": name} for number, name in enumerate(HOSTILE)}
    names["p1"]["mr"] = "<b>absent</b>.nii.gz"
    names["p2"]["reject"] = "<img src=x onerror=alert(1)>"
    table = write_table(0, 1, 2, 3, **names)
    prepare_cohort(table, tmp_path / "out", workers=1, max_fre_mm=20, max_tre_mm=20, max_spacing_mm=20)
    assert not list(tmp_path.glob("outside*"))
    assert all(path.parent == tmp_path / "out/cases" for path in tmp_path.rglob("strip.jpg") for path in [path.parent])
    return Page(tmp_path / "out/cohort.html")


def test_hostile_names_are_text_and_nothing_else(page: Page) -> None:
    text = " ".join(page.text)
    assert all(name in text for name in HOSTILE)
    assert "<b>absent</b>.nii.gz does not exist" in text
    assert "Rejected: <img src=x onerror=alert(1)>." in text
    tags = {tag for tag, _ in page.tags}
    assert "script" not in tags
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_asks_no_network_and_its_links_lead_somewhere(page: Page) -> None:
    sources = [attributes["src"] or "" for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 2  # one case failed and one was rejected before it was done
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attributes["href"] or "" for tag, attributes in page.tags if "href" in attributes]
    anchors = {f"#{attributes['id']}" for _, attributes in page.tags if attributes.get("id")}
    assert set(links) <= anchors
    assert sum(link.startswith("#case-") for link in links) == 4
    assert not re.search(r"https?://|url\(|@import", "".join(page.text))


def test_the_failed_case_stands_first_and_the_rejected_one_last(page: Page) -> None:
    text = "".join(page.text)
    table = text[text.index("Voxel of CT, MR, mm") :]
    places = [table.index(name) for name in (HOSTILE[1], HOSTILE[0], HOSTILE[3], HOSTILE[2])]
    assert places[0] < min(places[1:3])
    assert max(places[1:3]) < places[3]
