"""The images and truths that a benchmark works on, as files beside each other, made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch

from spinefuse_ext.benchmark.panel import BODIES, LabelFile, PanelCase, Slices
from spinefuse_ext.benchmark.variants import NATIVE, varied
from spinefuse_ext.data.phantom import make_phantom
from spinefuse_ext.data.stack import stack_slices
from spinefuse_ext.enums import MODALITIES
from spinefuse_ext.files import atomic_folder
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes.volume import read_volume, write_volume

_MADE = "made.json"
_TRUTH = "truth_"


@dataclass(frozen=True)
class Input:
    """A variant of a case: the path that a user would give, and the folder of its truths."""

    case: PanelCase
    variant: str
    folder: Path
    image: Path

    @property
    def name(self) -> str:
        return f"{self.case.name}/{self.variant}"

    def truths(self) -> dict[str, MetaTensor]:
        """The truth ``(1, X, Y, Z)`` of each structure that the case knows, on the grid of the image: 0 and 1.

        For ``bodies`` the number of each body.
        """
        return {
            path.name.removeprefix(_TRUTH).removesuffix(".nii.gz"): read_volume(path)
            for path in sorted(self.folder.glob(f"{_TRUTH}*.nii.gz"))
        }


def make_input(case: PanelCase, variant: str, inputs: Path) -> Input:
    """Write image and truths of a variant to ``inputs/CASE/VARIANT`` unless they are there; return where.

    The image of ``native`` is that of the panel itself, by a link, so that it is read as a user's is: DICOM from its
    folder, a file as it is. Slices are stacked first, and a variant is a NIfTI file.

    Raises:
        ImageReadError: a label has nothing of what it is said to know, or a file cannot be read.
    """
    folder = inputs / case.name / variant
    making = {"variant": variant, "case": json.loads(json.dumps(asdict(case), default=str))}
    if not _made(folder, making):
        with atomic_folder(folder) as new:
            _make(case, variant, new)
            (new / _MADE).write_text(json.dumps(making, indent=1) + "\n", encoding="utf-8")
    image = next(path for path in sorted(folder.iterdir()) if path.name.startswith("image"))
    return Input(case, variant, folder, image)


def _made(folder: Path, making: Mapping[str, Any]) -> bool:
    note = folder / _MADE
    return note.is_file() and json.loads(note.read_text(encoding="utf-8")) == making


def _make(case: PanelCase, variant: str, new: Path) -> None:
    if case.phantom is not None:
        image, truths = _phantom(case.phantom["seed"], case.phantom["image"])
        source = None
    else:
        source = _stored(cast("Path | Slices", case.image), new / "stacked")
        image = read_volume(source, None if case.key is None else MODALITIES[case.key])
        truths = {}
        for number, label in enumerate(case.labels):
            truths.update(_truths(case, label, image, new / f"stacked_label_{number}"))
    if variant == NATIVE and source is not None:
        if isinstance(case.image, Path):
            _link(source, new / _image_name(source))
        else:
            source.replace(new / "image.nii.gz")
    else:
        image, truths = varied(variant, image, truths)
        write_volume(image, new / "image.nii.gz")
    for name, truth in truths.items():
        write_volume(truth, new / f"{_TRUTH}{name}.nii.gz", dtype=np.uint8)
    for stacked in new.glob("stacked*"):
        shutil.rmtree(stacked)


def _phantom(seed: int, name: str) -> tuple[MetaTensor, dict[str, MetaTensor]]:
    phantom = make_phantom(seed)
    label = phantom.label.as_tensor()
    masks = {structure: label == number for number, structure in STRUCTURES.items() if number}
    image: MetaTensor = getattr(phantom, name)
    return image, {key: MetaTensor(mask.to(torch.uint8), affine=image.affine) for key, mask in masks.items()}


def _truths(case: PanelCase, label: LabelFile, image: MetaTensor, place: Path) -> dict[str, MetaTensor]:
    """What a label knows, on the grid of the image; nearest voxel where its own is another one."""
    stored = read_volume(_stored(label.file, place))
    numbers = stored.as_tensor().round().to(torch.int16)
    if label.knows == (BODIES,):
        masks = {BODIES: numbers}
    else:
        known = {name: [number for number, named in label.relabel.items() if named == name] for name in label.knows}
        masks = {name: torch.isin(numbers, torch.tensor(own, dtype=torch.int16)) for name, own in known.items()}
    if not any(bool(mask.any()) for mask in masks.values()):
        raise ImageReadError(
            f"The label {label.file} of case {case.name} holds nothing of {', '.join(label.knows)}; its numbers are "
            f"{numbers.unique().tolist()[:20]}. Correct `relabel` in the panel."
        )
    return {name: _placed(mask, stored, image) for name, mask in masks.items()}


def _placed(mask: torch.Tensor, stored: MetaTensor, image: MetaTensor) -> MetaTensor:
    if stored.shape == image.shape and torch.allclose(stored.affine, image.affine, atol=1e-2):
        return MetaTensor(mask.to(torch.uint8), affine=image.affine)
    source = MetaTensor(mask.float(), affine=stored.affine)
    placed = cast(MetaTensor, ResampleToMatch(mode="nearest", padding_mode="zeros")(source, image))
    return MetaTensor(placed.as_tensor().round().to(torch.uint8), affine=image.affine)


def _stored(place: Path | Slices, folder: Path) -> Path:
    """The path of a volume; slices are stacked into ``folder``."""
    if isinstance(place, Path):
        return place
    written = stack_slices(
        place.folder, folder, name="volume", pattern=place.pattern, plane=place.plane, spacing_mm=place.spacing_mm
    )
    if len(written) != 1:
        raise ImageReadError(
            f"The pattern {place.pattern} finds {len(written)} cases in {place.folder}; a panel's case is one. Put its "
            "name into group 1 of the pattern."
        )
    return written[0]


def _image_name(source: Path) -> str:
    """``image`` with the suffixes of a file, which say how it is read."""
    if source.is_dir():
        return "image"
    suffixes = source.suffixes[-2:] if source.suffix == ".gz" else source.suffixes[-1:]
    return "image" + "".join(suffixes)


def _link(source: Path, target: Path) -> None:
    """A link to the image, or a copy of it where there can be no links."""
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
