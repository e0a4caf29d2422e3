"""One HTML file that holds everything: styles, pictures and tables; it opens from a disk and asks no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.text import Text

from spinefuse_ext.files import atomic_write
from spinefuse_ext.report.palette import DPI
from spinefuse_ext.report.tables import Table


@dataclass(frozen=True)
class Picture:
    """A figure with the caption under it and the text that stands for it where it cannot be seen."""

    figure: Figure
    caption: str
    alt: str

    @property
    def source(self) -> str:
        """The figure as a ``data:`` URI of a PNG."""
        buffer = io.BytesIO()
        _draw_as_written(self.figure)
        self.figure.savefig(buffer, format="png", dpi=DPI, facecolor=self.figure.get_facecolor())
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _draw_as_written(figure: Figure) -> None:
    """Let matplotlib take no name for a formula, which one with two dollar signs would be; ticks have true ones."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text() and "mathdefault" not in text.get_text():
            text.set_parse_math(False)


@dataclass(frozen=True)
class StoredPicture:
    """A picture file, read when the page is written and not before, so that many cost no memory."""

    path: Path
    alt: str
    media_type: str = "image/jpeg"

    @property
    def source(self) -> str:
        """The file as a ``data:`` URI."""
        return f"data:{self.media_type};base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Card:
    """One case among many: a heading with a badge, a line of numbers, remarks, and a picture.

    ``anchor`` is what tables link to. ``tone`` colours the badge: "good", "bad" or "plain".
    """

    anchor: str
    heading: str
    badge: str
    tone: Literal["good", "bad", "plain"]
    line: str
    remarks: Sequence[str] = ()
    picture: StoredPicture | None = None


@dataclass(frozen=True)
class Fact:
    """A number worth reading first, what it is, and a note under it."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: facts, paragraphs, tables, figures, cards, and the commands that made it."""

    heading: str
    text: Sequence[str] = ()
    facts: Sequence[Fact] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Picture] = ()
    cards: Sequence[Card] = ()
    command: str = ""


def write_page(path: str | Path, *, title: str, sections: Sequence[Section], footer: str = "") -> Path:
    """Write the page and return its path. Every text is escaped, wherever it came from."""
    environment = Environment(
        loader=PackageLoader("spinefuse_ext.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").stream(title=title, sections=sections, footer=footer)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        page.dump(file, encoding="utf-8", errors="replace")  # a lone surrogate of a file name becomes a question mark
    return Path(path)
