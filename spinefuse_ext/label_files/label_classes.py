"""Which class each value of a label file is: by names, by codes, by what the user says, else the value itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spinefuse_ext.label_files.label_names import NamedValue
from spinefuse_ext.labels import STRUCTURES, class_named, plain_name, structure_coded
from spinefuse_ext.names import listed
from spinefuse_ext.validation import ConfigError, UnknownLabelError, check_whole_or_none

_IGNORE = "ignore"  # nnU-Net's name for voxels whose truth is unknown
_SHOWN = 8
#: What a value is called that a file with names leaves out.
NO_NAME = "no name"


@dataclass(frozen=True)
class LabelScheme:
    """What label volumes are read as.

    Args:
        labels: class -> name; class 0 is the background.
        relabel: what to make of a name or a value in a file: a name or number of ``labels``. Names in a file that it
            leaves out are looked up in the tables; of values without a name, it must name all but 0.
        ignore_index: value of voxels whose truth is unknown, which stay as they are.
        strict: refuse values without a name that are no class; else they stay, for whoever looks at them next.

    Raises:
        ConfigError: ``relabel`` is no mapping, or leads to something that is no class.
    """

    labels: Mapping[int, str] = field(default_factory=lambda: STRUCTURES)
    relabel: Mapping[str | int, str | int] | None = None
    ignore_index: int | None = None
    strict: bool = True

    def __post_init__(self) -> None:
        if self.relabel is not None and not isinstance(self.relabel, Mapping):
            raise ConfigError(
                "The setting relabel must say a class for each name or value, such as {'Wirbel': 'vertebra', 2: 3}, "
                f"got {self.relabel!r}."
            )
        for old, new in (self.relabel or {}).items():
            self._class(new, old)

    @classmethod
    def of(
        cls,
        labels: Sequence[str] | Mapping[int, str] | None = None,
        relabel: Mapping[str | int, str | int] | None = None,
        ignore_index: int | None = None,
    ) -> LabelScheme:
        """Of names in the order of their classes, the background first; without them the package's structures."""
        check_whole_or_none("ignore_index", ignore_index)
        if labels is None:
            return cls(STRUCTURES, relabel, ignore_index)
        listed = labels.split(",") if isinstance(labels, str) else labels
        if not isinstance(listed, (Sequence, Mapping)):
            raise ConfigError(f"The setting labels is a list of names, got {labels!r}.")
        named = listed if isinstance(listed, Mapping) else dict(enumerate(str(name).strip() for name in listed))
        return cls(dict(named), relabel, ignore_index)

    def told(self) -> str:
        """The classes in words: ``0 background, 1 vertebra``."""
        return ", ".join(f"{number} {name}" for number, name in self.labels.items())

    def of_values(self, values: Collection[int], path: object) -> dict[int, int]:
        """Classes of values that nothing names.

        Raises:
            UnknownLabelError: values that are no class, or that ``relabel`` leaves out.
        """
        given = {value: new for value in values if (new := self._said(value)) is not None}
        if any(_number(old) is not None for old in self.relabel or {}):
            left = sorted(set(values) - set(given) - {0, self.ignore_index})
            if left:
                raise UnknownLabelError(
                    f"{path} holds the values {listed(left)}, which relabel does not name; add them to it."
                )
        classes = {value: given.get(value, value) for value in values}
        unknown = sorted(value for value, number in classes.items() if not self._allowed(number))
        if unknown and self.strict:
            raise UnknownLabelError(
                f"{path} holds the values {listed(unknown)}, but the labels are {self.told()}; map them by relabel, "
                f'for example --relabel "{{{unknown[0]}: 1}}", name them by labels, or set ignore_index where the '
                "truth is unknown."
            )
        return classes

    def of_segments(
        self, segments: Sequence[NamedValue], path: object, where: str
    ) -> tuple[dict[NamedValue, int], list[str]]:
        """Class of each segment, and a sentence when that is another number than the file's own.

        Raises:
            UnknownLabelError: names that are no class, or a name and a code that contradict each other.
        """
        found = {segment: self._of_segment(segment, path) for segment in segments}
        unknown = [segment for segment, number in found.items() if number is None]
        if unknown:
            raise UnknownLabelError(
                f"{path}: {listed(unknown)} {'is' if len(unknown) == 1 else 'are'} none of the labels {self.told()}; "
                f"{where} names {listed(segments)}. Say what to make of {'it' if len(unknown) == 1 else 'them'} by "
                f"relabel, for example --relabel \"{{{_key(unknown[0])}: '{self._example()}'}}\" ('background' to "
                "leave something out)."
            )
        classes = {segment: number for segment, number in found.items() if number is not None}
        return classes, list(self._notes(classes, where))

    def _notes(self, classes: Mapping[NamedValue, int], where: str) -> Iterator[str]:
        changed = [one for one, number in classes.items() if number != one.value]
        if changed:
            told = ", ".join(f"{one.name} ({one.value}) is {self._name(classes[one])}" for one in changed[:_SHOWN])
            yield f"labels were given by the names in {where}, not by their numbers: {told}"

    def _name(self, number: int) -> str:
        return f"{number} {self.labels.get(number, _IGNORE)}"

    def _example(self) -> str:
        return next((name for number, name in self.labels.items() if number != 0), "background")

    def _of_segment(self, segment: NamedValue, path: object) -> int | None:
        said = self._said(segment.name, segment.value)
        if said is not None:
            return said
        structure = structure_coded(segment.code)
        named, coded = class_named(segment.name, self.labels), class_named(structure or "", self.labels)
        if named is not None and coded is not None and named != coded:
            raise UnknownLabelError(
                f"{path} calls a segment {segment.name}, but its code {segment.code} means {structure}; correct one, "
                f"or say which it is by relabel, for example --relabel \"{{'{segment.name}': '{self._example()}'}}\"."
            )
        if named is None and plain_name(segment.name) == _IGNORE:
            return self.ignore_index
        return coded if named is None else named

    def _said(self, *keys: str | int) -> int | None:
        """What ``relabel`` makes of the first of a name or value that it holds."""
        for key in keys:
            for old, new in (self.relabel or {}).items():
                same = _number(old) == key if isinstance(key, int) else _same_name(str(old), key)
                if same:
                    return self._class(new, old)
        return None

    def _class(self, new: str | int, old: str | int) -> int:
        number = _number(new)
        found = number if number is not None else class_named(str(new), self.labels)
        if number is None and plain_name(str(new)) == _IGNORE:
            found = self.ignore_index
        if found is None or not self._allowed(found):
            raise ConfigError(f"relabel makes {new!r} of {old!r}, but the labels are {self.told()}; name one of them.")
        return found

    def _allowed(self, number: int) -> bool:
        return number in self.labels or number == 0 or (self.ignore_index is not None and number == self.ignore_index)


def _key(segment: NamedValue) -> str:
    """What relabel may call a segment: its name, or the value of one without."""
    return str(segment.value) if segment.name == NO_NAME else f"'{segment.name}'"


def _same_name(one: str, other: str) -> bool:
    return one == other or (plain_name(one) == plain_name(other) != "")


def _number(text: str | int) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None
