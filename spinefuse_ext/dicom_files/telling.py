"""What tells the images of one place apart: echoes, phases, diffusion weights, kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

_SIEMENS_B, _GE_B = 0x0019100C, 0x00431039
_GE_MARK = 100_000  # GE adds a multiple of it to a b-value
#: Number of images in a Siemens mosaic.
MOSAIC_IMAGES = 0x0019100A
#: Tags by which images of one place are told apart, the surest first, and what a person calls them.
DIFFERENCES: dict[str | int, str] = {
    "StackID": "stack id",
    "EffectiveEchoTime": "echo time",
    "EchoTime": "echo time",
    "EchoNumbers": "echo",
    "InversionTime": "inversion time",
    "DiffusionBValue": "b-value",
    _SIEMENS_B: "b-value",
    _GE_B: "b-value",
    "DiffusionGradientOrientation": "gradient",
    "TemporalPositionIdentifier": "time point",
    "TemporalPositionIndex": "time point",
    "ComplexImageComponent": "component",
    "ImageType": "image type",
    "FrameType": "frame type",
    "NominalCardiacTriggerDelayTime": "delay",
    "TriggerTime": "trigger time",
    "ConvolutionKernel": "kernel",
    "KVP": "kVp",
    "AcquisitionNumber": "acquisition",
}
#: All that is read of a header beyond what an image needs.
TELLING: tuple[str | int, ...] = (*DIFFERENCES, "InstanceNumber", MOSAIC_IMAGES)


def value_of(header: Dataset, tag: str | int) -> str:
    """Return a value as text, several parted by a backslash; empty where the header has none."""
    element = header.get(Tag(tag))
    value: Any = None if element is None else element.value
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip(" \0")
    parts: Sequence[Any] = value if isinstance(value, (list, tuple, MultiValue)) else [value]
    words = [_word(part) for part in parts]
    return str(int(words[0]) % _GE_MARK) if tag == _GE_B and words and words[0].isdigit() else "\\".join(words)


def signature(header: Dataset) -> tuple[str, ...]:
    """Return all that may tell an image from others at its place."""
    return tuple(value_of(header, tag) for tag in DIFFERENCES)


def _word(part: Any) -> str:
    return f"{part:g}" if isinstance(part, float) else str(part).strip()
