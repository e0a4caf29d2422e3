"""Input checks shared by everyone, and the errors that people see: one type per cause, one sentence each."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.utils import look_up_option


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


class TransformError(SpinefuseError):
    """A transform file cannot be read, or does not say one map from CT to MR points."""


class DatalistError(SpinefuseError):
    """A datalist cannot be read, is empty, or puts one patient in two sections."""


class CohortError(SpinefuseError):
    """The table of a cohort cannot be read, or says something that no cohort can be made of."""


class ConfigError(SpinefuseError):
    """A bundle was started with a setting that no config defines, or with one that cannot be used."""


class PackError(SpinefuseError):
    """A bundle cannot be released as it is."""


class ResumeError(SpinefuseError):
    """A training cannot go on from the state that was named, or would overwrite one that was cut off."""


class WeightsError(SpinefuseError):
    """A checkpoint does not fit the network that should load it."""


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
    """Raise ``ValueError`` unless ``spatial_dims`` is 2 or 3."""
    if spatial_dims not in (2, 3):
        raise ValueError(f"Expected spatial_dims 2 or 3, got {spatial_dims}.")


def check_interval(setting: str, ends: Sequence[float]) -> tuple[float, float]:
    """Return ``ends`` as two floats; raise ``ConfigError`` unless they are a lower and a higher number."""
    pair = list(ends) if isinstance(ends, Sequence) and not isinstance(ends, str) else []
    if len(pair) != 2 or not all(isinstance(end, (int, float)) for end in pair) or not pair[0] < pair[1]:
        raise ConfigError(f"The setting {setting} needs a lower and a higher number, got {pair or ends}.")
    return float(pair[0]), float(pair[1])


def chosen(setting: str, value: Any, choices: Any) -> Any:
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


def check_exists(path: str | Path, what: str) -> Path:
    """Return ``path``; raise ``MissingPathError`` saying which ``what`` (for example "CT") is missing."""
    path = Path(path)
    if not path.exists():
        nearest = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
        raise MissingPathError(
            f"{what} {path} does not exist; the nearest folder that does is {nearest}. Check the path."
        )
    return path


def check_writable(folder: str | Path) -> Path:
    """Return ``folder``; raise ``OutputError`` where it cannot be made or no file be written into it.

    A folder that was not there is not left behind: who is refused later for another reason finds nothing new.
    """
    folder = Path(folder)
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"The output folder {folder} cannot be written to ({reason}); name another.") from error
    with contextlib.suppress(OSError):  # another process may have put something there
        for place in absent:
            place.rmdir()
    return folder


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
