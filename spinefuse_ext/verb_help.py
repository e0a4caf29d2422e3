"""The help of a verb, from the source text of its function: nothing is imported, so it is there at once.

A function of this package says all that its help needs in its signature and its docstring, whose section ``Args`` has a
line or more for each option.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent
_WIDTH, _INDENT = 100, 26
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Example):\s*$", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(\w+): ", re.MULTILINE)
#: What every verb understands.
ALWAYS = {
    "--help": "show this",
    "--verbose": "show what the libraries log, too",
    "--debug": "add the traceback to an error",
}


@dataclass(frozen=True)
class Option:
    """An option of a verb: its name, the text of its annotation and of its default (None without one), its meaning."""

    name: str
    kind: str
    default: str | None
    by_place: bool
    meaning: str

    @property
    def spelled(self) -> str:
        """The option as it is typed."""
        if self.kind == "bool":
            return f"--no{self.name}" if self.default == "True" else f"--{self.name}"
        return f"--{self.name} {_value_word(self.kind)}"


def verb_help(verb: str, function: str, what: str) -> str:
    """Return the help of ``spinefuse VERB``.

    Args:
        verb: its name.
        function: where it stands, ``module:name``; a module may hand it on from another one.
        what: what it does, for a function without a docstring.
    """
    node = find_definition(*function.split(":"))[1]
    text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
    prose, meanings = _parts(text or f"{what}.")
    options = verb_options(function, meanings)
    placed = [(one.name.upper(), one.default is None) for one in options if one.by_place]
    places = " ".join(name if needed else f"[{name}]" for name, needed in placed)
    lines = [f"usage: spinefuse {verb} {places} [--option VALUE ...]", "", prose, "", "options:"]
    lines += [_row(one.spelled, _with_default(one)) for one in options]
    if isinstance(node, ast.FunctionDef) and node.args.kwarg:
        meaning = meanings.get(node.args.kwarg.arg, "any setting of the bundle, by its config id")
        lines.append(_row("--ID VALUE", meaning))
    lines += [_row(name, meaning) for name, meaning in ALWAYS.items()]
    return "\n".join(lines) + "\n"


def verb_options(function: str, meanings: Mapping[str, str] | None = None) -> list[Option]:
    """The options of a verb's function ``module:name``, in their order."""
    path, node = find_definition(*function.split(":"))
    if not isinstance(node, ast.FunctionDef):
        raise ValueError(f"{function} is no function.")
    given, told = node.args, meanings or {}
    placed = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(placed) - len(given.defaults)) + list(given.defaults)
    pairs = [(one, default, True) for one, default in zip(placed, defaults, strict=True)]
    if given.vararg:
        pairs.append((given.vararg, ast.Tuple([], ast.Load()), True))
    pairs += [(one, default, False) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [
        Option(
            one.arg,
            ast.unparse(one.annotation) if one.annotation else "Any",
            None if default is None else _shown(path, default),
            by_place,
            told.get(one.arg, ""),
        )
        for one, default, by_place in pairs
    ]


def find_definition(module: str, name: str) -> tuple[Path, ast.stmt]:
    """The file and the statement that define ``name``, also where ``module`` only hands it on.

    Raises:
        LookupError: no such name in a module of this package.
    """
    path = _file(module)
    for node in _statements(path):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return path, node
        if _assigns(node, name):
            return path, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module.startswith(_ROOT.name):
                    return find_definition(node.module, alias.name)
    raise LookupError(f"{module} defines no {name}.")


def _file(module: str) -> Path:
    place = _ROOT.parent.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@lru_cache
def _tree(path: Path) -> ast.Module:
    if not path.is_file():
        raise LookupError(f"{path} does not exist.")
    return ast.parse(path.read_text(encoding="utf-8"))


def _statements(path: Path) -> Iterator[ast.stmt]:
    """The statements of a module, those below an ``if`` too."""
    waiting = list(_tree(path).body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if isinstance(node, ast.If):
            waiting = [*node.body, *node.orelse, *waiting]


def _assigns(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id == name
    return isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets)


def _shown(path: Path, node: ast.expr) -> str:
    """A default as text: the value of a constant, of a member of an enumeration or of a dataclass, where it is one."""
    value = _evaluated(path, node)
    return ast.unparse(node) if value is _UNKNOWN else "none" if value in (None, (), "") else str(value)


_UNKNOWN = object()


def _evaluated(path: Path, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    try:
        if isinstance(node, ast.Name):
            return _assigned(*_found(path, node.id))
        if isinstance(node, ast.Attribute):
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            where, holder = _found(path, owner.id if isinstance(owner, ast.Name) else "")
            body = holder.body if isinstance(holder, ast.ClassDef) else []
            return _assigned(where, next(one for one in body if _assigns(one, node.attr)))
    except (LookupError, StopIteration):
        pass
    return _UNKNOWN


def _found(path: Path, name: str) -> tuple[Path, ast.stmt]:
    inside = path.relative_to(_ROOT.parent).with_suffix("")
    return find_definition(".".join(inside.parts).removesuffix(".__init__"), name)


def _assigned(path: Path, node: ast.stmt) -> Any:
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    return _UNKNOWN if value is None else _evaluated(path, value)


def _parts(docstring: str) -> tuple[str, dict[str, str]]:
    """The prose of a docstring, wrapped, and the meaning of each of its arguments; other sections are left out."""
    pieces = _SECTION.split(docstring.replace("``", ""))
    arguments = dict(zip(pieces[1::2], pieces[2::2], strict=True)).get("Args", "")
    found = _ARGUMENT.split(arguments)
    meanings = {name: " ".join(text.split()) for name, text in zip(found[1::2], found[2::2], strict=True)}
    paragraphs = [" ".join(part.split()) for part in pieces[0].strip().split("\n\n")]
    return "\n\n".join(textwrap.fill(part, _WIDTH, break_on_hyphens=False) for part in paragraphs), meanings


def _value_word(kind: str) -> str:
    """What a value of an annotation is called in a help."""
    plain = kind.removesuffix(" | None")
    words = {"int": "N", "float": "X", "str": "TEXT", "str | Path": "PATH", "Path": "PATH", "str | int": "TEXT"}
    if "Mapping" in plain:
        return '"{A: B}"'
    if "Sequence" in plain or "Iterable" in plain:
        return "A,B"
    return words.get(plain, "VALUE")


def _with_default(option: Option) -> str:
    if option.default is None:
        return f"{option.meaning} (needed)".strip()
    told = "" if option.default == "none" or option.kind == "bool" else f" (default {option.default})"
    off = "switch this off: " if option.spelled.startswith("--no") and option.default == "True" else ""
    return f"{off}{option.meaning}{told}".strip()


def _row(name: str, meaning: str) -> str:
    """An option and its meaning, the meaning in a column of its own."""
    first = f"  {name}"
    blank = " " * _INDENT
    lines = textwrap.wrap(meaning, _WIDTH - _INDENT, break_on_hyphens=False) or [""]
    if len(first) >= _INDENT:
        return "\n".join([first, *(blank + line for line in lines if line)])
    return "\n".join([f"{first:<{_INDENT}}{lines[0]}".rstrip(), *(blank + line for line in lines[1:])])
