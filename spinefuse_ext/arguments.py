"""The arguments of a verb from the words of a command line, each read as its annotation says.

Paths and names stay the text that was typed, whatever it looks like: ``2024``, ``Doe,John``, ``[a]``, ``None``.
Numbers, lists, mappings and yes or no are read, and refused in a sentence when they are something else.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from fire.parser import DefaultParseValue

from spinefuse_ext.option_names import OPTION, nearest_name
from spinefuse_ext.validation import ConfigError

_WORDS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def bind_arguments(verb: str, function: Callable[..., Any], words: Sequence[str]) -> inspect.BoundArguments:
    """Bind the words after a verb to the parameters of its function.

    A parameter is given by place, as ``--name value`` or as ``--name=value``; one that is true or false also as
    ``--name`` and ``--noname``. ``--`` ends the options. Where the function takes further settings (``**overrides``),
    each of these stays text, or is True where it stands without a value.

    Raises:
        ConfigError: a parameter that is unknown, absent, given twice, without a value or of the wrong type, or a word
            too many.
    """
    return _Arguments(f"`spinefuse {verb}`", function).bind(words)


def nearest_option(spelled: str, function: Callable[..., Any], rival: str | None = None) -> str | None:
    """The option of a verb's function that somebody meant who spelled a name that is none.

    None when no option is near, or when ``rival``, a setting that may be meant too, is nearer.
    """
    names = [one.name for one in inspect.signature(function).parameters.values() if one.kind in _NAMED]
    near = nearest_name(spelled, names, [] if rival is None else [rival])
    return near if near in names else None


class _Arguments:
    """The parameters of one verb, and what a command line gave for them so far."""

    def __init__(self, verb: str, function: Callable[..., Any]) -> None:
        self.verb = verb
        self.function, self.signature = function, inspect.signature(function)
        hints = get_type_hints(function) if inspect.isroutine(function) and hasattr(function, "__annotations__") else {}
        self.kinds = {name: hints.get(name, Any) for name in self.signature.parameters}
        self.named: dict[str, Any] = {}
        self.placed: list[str] = []

    def bind(self, words: Sequence[str]) -> inspect.BoundArguments:
        self._sort(list(words))
        places = iter(self.placed)
        args, rest = [], dict(self.named)
        for parameter in self._parameters(*_PLACED):
            if parameter.name in rest:
                args.append(rest.pop(parameter.name))
            elif (text := next(places, None)) is not None:
                args.append(self._read(parameter.name, text))
            elif parameter.default is parameter.empty:
                self._absent(parameter.name, f"{parameter.name}; give --{parameter.name} VALUE")
            else:
                args.append(parameter.default)
        args += self._further(places)
        absent = [one.name for one in self._parameters(inspect.Parameter.KEYWORD_ONLY) if one.default is one.empty]
        for name in absent:
            if name not in rest:
                self._absent(name, f"--{name} VALUE")
        return self.signature.bind(*args, **rest)

    def _absent(self, name: str, told: str) -> NoReturn:
        """Refuse a line without an option, which may stand there under another name."""
        for spelled in self.named:
            if spelled not in self.signature.parameters and nearest_option(spelled, self.function) == name:
                raise ConfigError(f"{self.verb} has no option --{spelled}; did you mean --{name}?")
        raise ConfigError(f"{self.verb} needs {told}.")

    def _parameters(self, *kinds: Any) -> list[inspect.Parameter]:
        return [parameter for parameter in self.signature.parameters.values() if parameter.kind in kinds]

    def _further(self, places: Iterator[str]) -> list[Any]:
        """The words by place that are left: for ``*args``, or too many."""
        texts = list(places)
        several = self._parameters(inspect.Parameter.VAR_POSITIONAL)
        if texts and not several:
            raise ConfigError(
                f"{self.verb} has no use for the word {texts[0]!r}; put a path or name that holds a blank in quotes."
            )
        return [self._read(several[0].name, text) for text in texts]

    def _sort(self, words: list[str]) -> None:
        """Take the words one by one: options with their values, and the others by place."""
        while words:
            word = words.pop(0)
            if word == "--":
                self.placed += words
                return
            if OPTION.fullmatch(word):
                self._option(word, words)
            else:
                self.placed.append(word)

    def _option(self, word: str, words: list[str]) -> None:
        spelled, equals, given = word.lstrip("-").partition("=")
        name, negated = self._known(spelled.replace("-", "_"))
        if name in self.named:
            raise ConfigError(f"{self.verb} got --{name} twice; leave one out.")
        if equals and negated:
            raise ConfigError(f"{self.verb} takes --{name}={given} or --no{name}, got {word}.")
        text = given if equals else self._following(name, words, negated)
        settings = self._parameters(inspect.Parameter.VAR_KEYWORD) and name not in self.signature.parameters
        if settings:
            self.named[name] = text if text is not None else True
        else:
            self.named[name] = not negated if text is None else self._read(name, text)

    def _following(self, name: str, words: list[str], negated: bool) -> str | None:
        """The word that is the value of an option; None where the option says yes or no by itself."""
        follows = bool(words) and not OPTION.fullmatch(words[0]) and words[0] != "--"
        if name not in self.signature.parameters:
            return words.pop(0) if follows else None
        if self.kinds[name] is bool:
            return words.pop(0) if follows and not negated and words[0].lower() in _WORDS else None
        if not follows:
            raise ConfigError(
                f"{self.verb}: --{name} needs a value; one that begins with a dash is written --{name}=-VALUE."
            )
        return words.pop(0)

    def _known(self, spelled: str) -> tuple[str, bool]:
        """The parameter that an option means, and whether it says no; a setting that is not the verb's own as it is."""
        names = [parameter.name for parameter in self._parameters(*_NAMED)]
        if spelled in names:
            return spelled, False
        if spelled.startswith("no") and spelled[2:] in names and self.kinds[spelled[2:]] is bool:
            return spelled[2:], True
        starting = [name for name in names if name[0] == spelled]
        if len(starting) == 1:
            return starting[0], False
        if not self._parameters(inspect.Parameter.VAR_KEYWORD):
            near = nearest_option(spelled, self.function)
            listed = ", ".join(f"--{name}" for name in ([near] if near else names))
            raise ConfigError(f"{self.verb} has no option --{spelled}; did you mean {listed}?")
        return spelled, False

    def _read(self, name: str, text: str) -> Any:
        try:
            return read_value(text, self.kinds[name])
        except ValueError as error:
            raise ConfigError(f"{self.verb}: --{name} takes {error}.") from error


def read_value(text: str, kind: Any) -> Any:
    """Read ``text`` as a value of the annotation ``kind``; ``str`` and ``Path`` in it mean that it stays as it is.

    Raises:
        ValueError: it is no such value; the message says what is expected and what came.
    """
    members = _members(kind)
    if members & {str, Path}:
        return _text_or_list(text, members)
    if types.NoneType in members and text == "None":
        return None
    if kind is Any:
        return DefaultParseValue(text)
    readers = [reader for known, reader in _READERS.items() if members & known]
    container = next((member for member in members if get_origin(member) is not None), None)
    if container is not None and (not readers or text[:1] in "[({" or "," in text):
        return _contained(text, container)
    return readers[0](text)


def read_flag(text: str) -> bool:
    """Read yes or no in the words that people use for it."""
    if text.lower() not in _WORDS:
        raise ValueError(f"True or False, got {text}")
    return _WORDS[text.lower()]


def read_integer(text: str) -> int:
    """Read a whole number in digits."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"a whole number, got {text}")
    return int(text)


def read_number(text: str) -> float:
    """Read a number with a decimal point; ``inf`` is one."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number != number or "_" in text:
        raise ValueError(f"a number with a decimal point, got {text}")
    return number


_READERS: Mapping[frozenset[Any], Callable[[str], Any]] = {
    frozenset([bool]): read_flag,
    frozenset([float]): read_number,
    frozenset([int]): read_integer,
}


def _members(kind: Any) -> set[Any]:
    return set(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else {kind}


def _text_or_list(text: str, members: Collection[Any]) -> Any:
    """Text, or a list of texts where one is allowed and the text is written as one, and names no file."""
    if not text:
        raise ValueError("text, got nothing between the quotes")
    container = next((member for member in members if get_origin(member) is not None), None)
    if container is None or text[0] not in "[(" or Path(text).exists():
        return text
    value = DefaultParseValue(text)
    return [_element(one, get_args(container)[0]) for one in value] if isinstance(value, (list, tuple)) else text


def _contained(text: str, kind: Any) -> Any:
    """A list or a mapping, with each member of its own kind."""
    value, arguments = DefaultParseValue(text), get_args(kind)
    if len(arguments) == 2:
        if not isinstance(value, dict):
            raise ValueError(f'a mapping such as "{{1: 2}}", got {text}')
        return {_element(key, arguments[0]): _element(one, arguments[1]) for key, one in value.items()}
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'a list such as "[1,2,3]", got {text}')
    return [_element(one, arguments[0]) for one in value]


def _element(value: Any, kind: Any) -> Any:
    if kind is str:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"numbers, got {value}")
    return read_value(str(value), kind)
