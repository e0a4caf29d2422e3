"""The rooms of the package import each other in the order that the style page gives."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spinefuse_ext"


def documented_floors(page: str) -> dict[str, int]:
    """Room -> its floor, 0 at the bottom, of the list in ``docs/style.md``."""
    listed = re.search(r"\*\*Imports\*\* .*?:\n(.*?)\. A test reads", page, re.DOTALL)
    assert listed is not None, "docs/style.md has no list of rooms any more"
    floors = [re.findall(r"`(\w+)`", floor) for floor in listed[1].split("<-")]
    return {room: number for number, rooms in enumerate(floors) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> Iterator[tuple[int, str]]:
    """Line and room of every import of the package, also inside functions and by ``import_module``."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "spinefuse_ext":
            names = [f"spinefuse_ext.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
        for name in names:
            parts = str(name).split(".")
            if parts[0] == "spinefuse_ext" and len(parts) > 1:
                yield node.lineno, parts[1]


def climbing(source: str, room: str, floors: dict[str, int]) -> list[str]:
    """The imports of a file in ``room`` that do not point to a lower floor."""
    return [
        f"line {line}: {room} imports {other}"
        for line, other in imported_rooms(source)
        if other in floors and other != room and floors[other] >= floors[room]
    ]


FLOORS = documented_floors((ROOT / "docs" / "style.md").read_text(encoding="utf-8"))
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_every_room_has_its_floor() -> None:
    assert not {room_of(path) for path in FILES} - set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    assert not climbing(path.read_text(encoding="utf-8"), room_of(path), FLOORS)


@pytest.mark.parametrize(
    "source",
    [
        "from spinefuse_ext.report.palette import DPI",
        "import spinefuse_ext.report",
        "from spinefuse_ext import report",
        "def late():\n    from spinefuse_ext.report.page import page",
        "from importlib import import_module\nimport_module('spinefuse_ext.report.page')",
        "import importlib\nimportlib.import_module('spinefuse_ext.losses')",
    ],
)
def test_an_import_that_points_up_or_sideways_is_found(source: str) -> None:
    assert climbing(source, "data", FLOORS)


def test_an_import_of_the_own_room_or_of_one_below_is_none() -> None:
    source = (
        "from spinefuse_ext import __version__\nfrom spinefuse_ext.data import x\nfrom spinefuse_ext.dicom import y"
    )
    assert not climbing(source, "data", FLOORS)
