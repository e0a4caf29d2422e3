"""A label volume from whatever holds it, as class numbers: by its names where it has some, and checked to be one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import itk
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.archive import named_after, opened
from spinefuse_ext.dicom_files.seg_label import Canvas, find_seg, seg_label
from spinefuse_ext.formats import Kind, format_of
from spinefuse_ext.images.itk_pixels import itk_affine
from spinefuse_ext.label_files.label_classes import NO_NAME, LabelScheme
from spinefuse_ext.label_files.label_grid import say_once
from spinefuse_ext.label_files.label_names import NamedValue, named_values, nrrd_fields
from spinefuse_ext.label_files.label_place import place_label
from spinefuse_ext.validation import ImageReadError, check_exists
from spinefuse_ext.volumes.volume import read_volume

#: How far a value may lie from a whole number: what floats and rescaling leave.
_ROUNDED = 1e-3
_MANY = 1 << 16
_SHOWN = 5


def read_label(
    path: str | Path, scheme: LabelScheme | None = None, names: Mapping[int, str] | None = None
) -> MetaTensor:
    """Read a label as class numbers ``(1, X, Y, Z)`` on its own grid, float32; ``meta["warnings"]`` says what was odd.

    An image file, a DICOM SEG, or a folder or ZIP archive that holds one. Names in the file or beside it
    (``named_values``) say which class a value is, whatever its number; without names the number is the class. Values
    within 0.001 of a whole number are rounded. ``names`` of values, as a program keeps them that saved the file, come
    before those of the file.

    Raises:
        MissingPathError: The path does not exist.
        ImageReadError: It cannot be read, or holds what is no label.
        UnknownLabelError: A name or value that is none of the classes; the message lists what is there and what is
            known.
    """
    scheme = scheme or LabelScheme()
    path = check_exists(path, "The label")
    with opened(path) as place:
        seg = find_seg(place)
        if seg is not None:
            return named_after(seg_label(seg, scheme), place, path)
    segments, where = _names(path, names)
    volume, layers = _layers(path)
    if not segments:
        return _mapped(volume, scheme.of_values(present_values(layers[0], path), path), layers[0])
    return _by_name(volume, layers, [one for one in segments if one.value], scheme, where)  # 0 is background


def label_for(
    path: str | Path,
    image: MetaTensor,
    scheme: LabelScheme | None = None,
    *,
    names: Mapping[int, str] | None = None,
    bone: bool = False,
) -> tuple[MetaTensor, list[str]]:
    """Read a label onto the grid of its image, and return what was odd about it, a sentence each; they are logged once.

    Raises:
        MissingPathError: The path does not exist.
        ImageReadError: It cannot be read, or holds what is no label.
        UnknownLabelError: A name or value that is none of the classes.
        GridMismatchError: Its place was lost, or it does not lie on the image.
    """
    label = read_label(path, scheme, names)
    notes = list(label.meta.get("warnings", ()))
    for note in notes:
        say_once(note)
    placed, found = place_label(label, image, bone=bone)
    return placed, [*notes, *found]


def _names(path: Path, given: Mapping[int, str] | None) -> tuple[list[NamedValue], str]:
    if given:
        return [NamedValue(int(value), str(name)) for value, name in given.items()], "the list of its labels"
    return named_values(path) if path.is_file() else ([], "")


def checked_label(volume: MetaTensor, scheme: LabelScheme) -> MetaTensor:
    """Return a copy of a label volume ``(1, X, Y, Z)`` whose values are classes, as ``read_label`` has those of files.

    Raises:
        ImageReadError: It holds what is no label.
        UnknownLabelError: It holds values that are none of the classes.
    """
    name = volume.meta.get("filename_or_obj", "The label volume")
    values = volume.as_tensor().float().cpu().numpy()[0]
    return _mapped(volume.clone().float(), scheme.of_values(present_values(values, name), name), values)


def not_whole(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where values are no whole numbers by more than the 0.001 that floats and rescaling leave; NaN is none."""
    return np.asarray(~(np.abs(values - np.rint(values)) <= _ROUNDED))


def present_values(values: NDArray[np.float32], path: object) -> list[int]:
    """Distinct values of a label, as whole numbers.

    Raises:
        ImageReadError: values that are none, by more than rounding.
    """
    off = not_whole(values)
    if off.any():
        odd = ", ".join(f"{value:.6g}" for value in np.unique(values[off])[:_SHOWN])
        raise ImageReadError(
            f"{path} is no label: it holds {odd}; expected whole numbers from 0 up; export the segmentation again."
        )
    whole = np.rint(values).astype(np.int64).ravel()
    if whole.size and whole.min() >= 0 and whole.max() < _MANY:  # counting is much faster than sorting
        return [int(value) for value in np.flatnonzero(np.bincount(whole))]
    return [int(value) for value in np.unique(whole)]


def _by_name(
    volume: MetaTensor, layers: NDArray[np.float32], segments: list[NamedValue], scheme: LabelScheme, where: str
) -> MetaTensor:
    path = volume.meta["filename_or_obj"]
    values = [present_values(layer, path) for layer in layers]
    held = [one for one in segments if one.layer < len(values) and one.value in values[one.layer]]
    known = {(one.layer, one.value) for one in held}
    rest = [(layer, value) for layer, found in enumerate(values) for value in found if (layer, value) not in known]
    held += [NamedValue(value, NO_NAME, layer=layer) for layer, value in rest if value not in (0, scheme.ignore_index)]
    classes, notes = scheme.of_segments(held, path, where)
    canvas = Canvas(layers.shape[1:])
    for one in held:
        canvas.paint(..., np.rint(layers[one.layer]) == one.value, classes[one])
    for layer, value in rest:
        canvas.paint(..., np.rint(layers[layer]) == value, value if value == scheme.ignore_index else 0)
    notes += canvas.overlaps(scheme, path)
    volume.set_array(torch.from_numpy(canvas.values.astype(np.float32))[None])
    volume.meta["warnings"] = [*volume.meta.get("warnings", ()), *(f"{path}: {note}" for note in notes)]
    return volume


def _mapped(volume: MetaTensor, classes: dict[int, int], values: NDArray[np.float32]) -> MetaTensor:
    whole = np.rint(values)
    if any(old != new for old, new in classes.items()):
        made = np.zeros_like(whole)
        for old, new in classes.items():
            made[whole == old] = new
        whole = made
    volume.set_array(torch.from_numpy(whole)[None])
    return volume


def _layers(path: Path) -> tuple[MetaTensor, NDArray[np.float32]]:
    """The volume as ``read_volume`` has it, and its values ``(L, X, Y, Z)``: L is 1 but for overlapping segments."""
    named = format_of(path)
    header = nrrd_fields(path) if path.is_file() and named and named.kind == Kind.NRRD else {}
    if header.get("dimension") != "4" or not header.get("kinds", "").startswith("list"):
        volume = read_volume(path)
        return volume, volume.numpy()
    try:
        reader = itk.ImageFileReader[itk.VectorImage[itk.F, 3]].New(FileName=str(path))
        reader.Update()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ImageReadError(f"{path} cannot be read as an image ({reason}); export it again.") from error
    image = reader.GetOutput()
    layers = np.array(itk.array_from_image(image)).transpose(3, 2, 1, 0)
    affine = itk_affine(image)
    meta = {"filename_or_obj": str(path), "original_affine": affine.copy(), "space": "RAS", "warnings": []}
    return MetaTensor(torch.from_numpy(layers[:1].copy()), affine=torch.as_tensor(affine), meta=meta), layers
