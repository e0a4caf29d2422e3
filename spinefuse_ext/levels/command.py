"""The verb ``spinefuse levels``: a label volume in, one numbered and named label for every vertebra and disc out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ensure_tuple

from spinefuse_ext.files import atomic_write, check_apart, check_output_folder
from spinefuse_ext.labels import structure_colour
from spinefuse_ext.levels.anchors import NamedPoint
from spinefuse_ext.levels.find import KnownLevels, find_levels
from spinefuse_ext.levels.ids import number_of
from spinefuse_ext.levels.picture import write_picture
from spinefuse_ext.levels.read import read_structures
from spinefuse_ext.levels.record import Levels, write_levels
from spinefuse_ext.report.views import as_volume
from spinefuse_ext.validation import GridMismatchError, check_exists
from spinefuse_ext.volumes.volume import read_volume, write_volume

logger = logging.getLogger(__name__)

LABELS, RECORD, PICTURE, COLOURS, SEG = "levels.nii.gz", "levels.json", "levels.png", "levels.ctbl", "levels.dcm"


def levels(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    label: str | Path,
    out: str | Path,
    *,
    scheme: str | None = None,
    relabel: Mapping[str | int, str | int] | None = None,
    anchor: str | Sequence[str] = (),
    lowest_disc: str | None = None,
    landmarks: str | Path | None = None,
    ids: str = "verse",
    image: str | Path | None = None,
    dicom: str | Path | None = None,
) -> Levels:
    """Give every vertebra and disc of a label volume its own label and name: ``spinefuse levels --label F --out OUT``.

    Writes ``OUT/levels.nii.gz`` (numbers), ``levels.json`` (name, evidence, place and volume of each, and doubts),
    ``levels.ctbl`` (names and colours for 3D Slicer) and ``levels.png`` (a picture).

    Args:
        label: vertebrae, discs, canal and sacrum as ``spinefuse segment`` writes them, or the label volume of another
            program.
        out: folder to write to.
        scheme: whose numbers the label volume holds: "totalsegmentator", "verse", "tptbox" or "spider". By default the
            names in the file tell, or the numbers are 1 vertebra, 2 disc, 3 canal, 4 sacrum.
        relabel: structure of each name or number of the label volume that is none of these.
        anchor: a level that is known and a point on it in RAS mm, ``L3@-4.5,12,310`` or ``L4/L5@0,20,280``; several as
            a list.
        lowest_disc: name of the lowest disc of the label volume, such as L5/S1, where no sacrum is labelled.
        landmarks: file of landmarks, whose names (``L3 spinous tip``) tell the levels they lie on.
        ids: numbers to write: "verse" (20 is L1) or "totalsegmentator" (31 is L1); a disc has 100 more than the
            vertebra above it.
        image: CT or MR on the grid of the labels, shown under them in the picture.
        dicom: DICOM series on whose images the labels lie; ``levels.dcm`` is then a DICOM SEG of the named levels.

    Raises:
        MissingPathError: a file does not exist.
        LevelsError: there are no levels to tell apart, or what names them contradicts itself.
        UnknownLabelError: a value of the labels that stands for no structure.
        GridMismatchError: the image lies on another grid.
    """
    folder = check_output_folder(out)
    for written in (LABELS, RECORD, PICTURE, COLOURS, SEG):
        check_apart(folder / written, (label, image, dicom, landmarks))
    number_of("L1", ids)  # an unknown name is told before the work
    known = KnownLevels([NamedPoint(text) for text in _anchors(anchor)], lowest_disc, landmarks)
    classes, affine = read_structures(label, scheme, relabel)
    numbers, found = find_levels(classes, affine, known=known, ids=ids, name=str(label))
    volume = MetaTensor(torch.from_numpy(numbers.astype(np.int32))[None], affine=torch.as_tensor(affine))
    shown = None if image is None else _image(image, volume)
    if dicom is not None:  # first, for it is what can be refused
        from spinefuse_ext.levels.seg import write_levels_seg  # needs packages that NIfTI does not

        write_levels_seg(volume, found, dicom, folder / SEG)
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(volume, folder / LABELS, dtype=np.uint16)
    _write_colours(found, folder / COLOURS)
    write_levels(found, folder / RECORD)
    write_picture(folder / PICTURE, as_volume(volume), found, None if shown is None else as_volume(shown))
    _tell(found, folder)
    return found


def _anchors(anchor: str | Sequence[str]) -> list[str]:
    return [str(text) for text in ensure_tuple(anchor)]


def _image(path: str | Path, labels: MetaTensor) -> MetaTensor:
    image = read_volume(check_exists(path, "The image"))
    same = image.shape == labels.shape and np.allclose(image.affine.numpy(), labels.affine.numpy(), atol=1e-2)
    if not same:
        raise GridMismatchError(
            f"{path} has the size {tuple(image.shape[1:])}, or a place, that the labels of size "
            f"{tuple(labels.shape[1:])} do not have; give the image that the labels were made of."
        )
    return image


def _write_colours(found: Levels, path: Path) -> None:
    lines = ["# Color table of spinefuse levels: number, name, red, green, blue, opacity", "0 background 0 0 0 0"]
    for place, level in enumerate(found.levels):
        colour = structure_colour(place + 1)
        red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
        lines.append(f"{level.number} {level.name} {red} {green} {blue} 255")
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tell(found: Levels, folder: Path) -> None:
    logger.info("%s: %d vertebrae (%s), %d discs", folder, len(found.vertebrae), found.told(), len(found.discs))
    logger.info("%s: named by %s", folder, found.named_by)
    if found.dropped:
        logger.info("%s: %d loose pieces, %.2f ml, belong to no level", folder, found.dropped, found.dropped_ml)
    for doubt in found.doubts:
        logger.warning("%s: %s", folder, doubt)
