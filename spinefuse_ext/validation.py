"""Input checks shared by everyone, and the errors that people see: one type per cause, one sentence each."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from monai.utils import look_up_option

from spinefuse_ext.names import on_disk
from spinefuse_ext.renamed import renamed

Number = TypeVar("Number", int, float)

#: Characters of a name: file systems take 255 bytes, of which endings need some.
_LONGEST_NAME = 200


class SpinefuseError(ValueError):
    """Bad input. The message names the file, says what is wrong and what to do; it is shown without a traceback."""


class MissingPathError(SpinefuseError):
    """A file or folder that was named does not exist."""


class MissingPackageError(SpinefuseError):
    """A package that this step needs is not installed."""


class ImageReadError(SpinefuseError):
    """A file or folder holds no image that can be read, or several where one is needed."""


class OutputError(SpinefuseError):
    """The folder that results should go to cannot be written to."""


class SourceError(SpinefuseError):
    """A DICOM series lacks what an object derived from it must refer to."""


class SegError(SpinefuseError):
    """Labels cannot become a DICOM SEG of the series that was named, or the file does not hold what they say."""


class FusedSeriesError(SpinefuseError):
    """A fused volume cannot become a DICOM series on the images of its CT, or the files do not hold what it says."""


class PatientMismatchError(SpinefuseError):
    """Two images that should show one patient carry different PatientIDs."""


class GridMismatchError(SpinefuseError):
    """Two images that must lie on one voxel grid differ in shape or affine."""


class UnknownLabelError(SpinefuseError):
    """A label volume holds a value that the table of labels does not name."""


class LandmarkError(SpinefuseError):
    """A landmark file cannot be read, or two of them do not describe the same points."""


class LevelsError(SpinefuseError):
    """A label volume shows no levels that can be told apart, or what names them contradicts itself."""


class TransformError(SpinefuseError):
    """A transform file cannot be read, or does not say one map from CT to MR points."""


class DatalistError(SpinefuseError):
    """A datalist cannot be read, is empty, or puts one patient in two sections."""


class CohortError(SpinefuseError):
    """The table of a cohort cannot be read, or says something that no cohort can be made of."""


class ConfigError(SpinefuseError):
    """A bundle was started with a setting that no config defines, or with one that cannot be used."""


class UnknownSettingError(ConfigError):
    """A setting that no config defines; ``name`` is how it was spelled, ``near`` the setting that is likely meant."""

    def __init__(self, message: str, name: str = "", near: str | None = None) -> None:
        super().__init__(message)
        self.name, self.near = name, near


class PackError(SpinefuseError):
    """A bundle cannot be released as it is."""


class ResumeError(SpinefuseError):
    """A training cannot go on from the state that was named, or would overwrite one that was cut off."""


class WeightsError(SpinefuseError):
    """A checkpoint does not fit the network that should load it, or is no archive of tensors alone."""


class ArchiveError(SpinefuseError):
    """An archive cannot be unpacked, or would write outside its folder."""


def check_same_shape(**tensors: torch.Tensor) -> None:
    """Raise ``ValueError`` listing every argument with its shape, unless all shapes are equal."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"Expected one common shape, got {listed}. Register or resample the pair first.")


def check_fused_and_pair(fused: torch.Tensor, pair: torch.Tensor) -> None:
    """Raise ``ValueError`` unless ``fused`` is ``(B, 1, *S)`` and ``pair`` ``(B, C, *S)`` of one batch and size."""
    if fused.shape[1] != 1 or fused.shape[0] != pair.shape[0] or fused.shape[2:] != pair.shape[2:]:
        raise ValueError(
            f"Expected a fused image (B, 1, *S) and its modalities (B, 2, *S) of one size, "
            f"got {tuple(fused.shape)} and {tuple(pair.shape)}."
        )


def check_spatial_dims(spatial_dims: int) -> None:
    """Raise ``ConfigError`` unless ``spatial_dims`` is 2 or 3."""
    if spatial_dims not in (2, 3):
        raise ConfigError(f"Expected spatial_dims 2 or 3, got {spatial_dims}.")


def check_interval(setting: str, ends: Sequence[float]) -> tuple[float, float]:
    """Return ``ends`` as two floats; raise ``ConfigError`` unless they are a lower and a higher number."""
    pair = list(ends) if isinstance(ends, Sequence) and not isinstance(ends, str) else []
    if len(pair) != 2 or not all(isinstance(end, (int, float)) for end in pair) or not pair[0] < pair[1]:
        raise ConfigError(f"The setting {setting} needs a lower and a higher number, got {pair or ends}.")
    return float(pair[0]), float(pair[1])


def check_number(
    setting: str,
    value: Number,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> Number:
    """Return ``value``; raise ``ConfigError`` unless it is a number, a whole one where asked, within the ends given."""
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    ends = (
        (least, "of at least", operator.ge),
        (above, "above", operator.gt),
        (most, "at most", operator.le),
        (below, "below", operator.lt),
    )
    named = [(end, word, holds) for end, word, holds in ends if end is not None]
    if not number or not all(holds(value, end) for end, _, holds in named):
        spoken = " and ".join(f"{word} {end:g}" for end, word, _ in named)
        if least is not None and most is not None:
            spoken = f"from {least:g} to {most:g}"
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"The setting {setting} is {' '.join(filter(None, (kind, spoken)))}, got {value!r}.")
    return value


def check_numbers(
    setting: str, values: Sequence[Number], *, length: int | None = None, **limits: Any
) -> tuple[Number, ...]:
    """Return ``values`` as a tuple; raise ``ConfigError`` unless they are ``length`` numbers, each in its limits.

    Args:
        setting: their name.
        values: any number of them, where ``length`` is None.
        length: how many there should be.
        limits: ``least``, ``above``, ``most``, ``below`` and ``whole`` of each, as :func:`check_number` takes them.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ConfigError(f"The setting {setting} is a list of numbers, got {values!r}.")
    if length is not None and len(values) != length:
        raise ConfigError(f"The setting {setting} is a list of {length} numbers, got {list(values)}.")
    return tuple(check_number(setting, value, **limits) for value in values)


def check_range(setting: str, ends: Sequence[float], **limits: Any) -> tuple[float, float]:
    """Return the two ends of a range as floats; raise ``ConfigError`` unless they are in order and in the limits."""
    low, high = check_numbers(setting, ends, length=2, **limits)
    if low > high:
        raise ConfigError(f"The setting {setting} is a smallest and a largest number, got {list(ends)}.")
    return float(low), float(high)


def check_names(setting: str, names: Sequence[str]) -> list[str]:
    """Return ``names`` as a list; raise ``ConfigError`` unless it is a list of texts, not one text."""
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"The setting {setting} is a list of names, got {names!r}.")
    return list(names)


def check_part(setting: str, value: Number) -> Number:
    """Return ``value``; raise ``ConfigError`` unless it is a part of a whole, from 0 to 1."""
    return check_number(setting, value, least=0, most=1)


def check_whole_or_none(setting: str, value: int | None) -> int | None:
    """Return ``value``; raise ``ConfigError`` unless it is a whole number or None."""
    return None if value is None else check_number(setting, value, whole=True)


def check_choice(setting: str, value: Any, choices: Any) -> Any:
    """What ``value`` stands for among ``choices``, a StrEnum, a mapping by name or a collection of names.

    Raises:
        ConfigError: none of them; names the setting, the nearest choice and all of them.
    """
    try:
        return look_up_option(value, choices)
    except ValueError as error:
        near = re.search(r"did you mean '.*?'\?", str(error))
        names = sorted(str(getattr(choice, "value", choice)) for choice in choices)
        hint = f"; {near.group()}" if near else "."
        raise ConfigError(
            f"The setting {setting} cannot be {value!r}{hint} It is one of {', '.join(names)}."
        ) from error


def check_plain_name(name: str, what: str) -> str:
    """Return ``name``, a file name that leads to no other folder and hides nothing; raise ``ConfigError`` else."""
    hostile = {"/", "\\", *map(chr, range(32)), chr(127)} & set(name)
    if not name.strip() or hostile or name.startswith(".") or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"{what} cannot be {name[:_LONGEST_NAME]!r}; it is a plain name of at most {_LONGEST_NAME} characters, "
            "without slashes and controls, that does not start with a dot."
        )
    return name


def check_exists(path: str | Path, what: str) -> Path:
    """Return ``path`` as the disk spells it; raise ``MissingPathError`` saying which ``what`` ("CT") is missing."""
    path = Path(path)
    try:
        found = on_disk(path)
    except OSError as error:
        raise MissingPathError(
            f"{what} {str(path)[:300]} cannot be looked at ({error.strerror}); check the path and the rights on it."
        ) from error
    if found is None:
        nearest = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
        raise MissingPathError(
            f"{what} {path} does not exist; the nearest folder that does is {nearest}. Check the path."
        )
    return found


def check_classes(
    label: torch.Tensor, num_classes: int, ignore_index: int | None = None, where: str = "the batch"
) -> None:
    """Raise ``UnknownLabelError`` when a label, any shape, holds what is neither a class nor ``ignore_index``."""
    classes = label if ignore_index is None else label.masked_fill(label == ignore_index, 0)
    lowest, highest = (int(value) for value in classes.aminmax())
    if lowest < 0 or highest >= num_classes:
        raise UnknownLabelError(
            f"Expected labels 0 to {num_classes - 1} for a network of {num_classes} classes, got {lowest} to "
            f"{highest} in {where}. Remap the labels, set ignore_index or give the network more output channels."
        )


if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"chosen": "spinefuse_ext.validation.check_choice"})
