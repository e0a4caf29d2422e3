"""A label volume as a DICOM SEG of the series it belongs to, read back and compared before it counts as written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from spinefuse_ext import __version__
from spinefuse_ext.dicom.source import Source, opened_source, read_headers
from spinefuse_ext.dicom_files.read_seg import Segment, read_seg
from spinefuse_ext.files import atomic_write, check_output_file
from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.label_files.label_grid import label_on_grid
from spinefuse_ext.labels import LEVEL_SNOMED_CT, SNOMED_CT, STRUCTURES, structure_colour
from spinefuse_ext.validation import SegError, UnknownLabelError
from spinefuse_ext.volumes.read_label import read_label

logger = logging.getLogger(__name__)

_TOLERANCE_VOXELS = 0.5
_SERIES_NUMBER = 1000
#: What a segment may be: a structure or a single level.
_CODES = {**SNOMED_CT, **LEVEL_SNOMED_CT}


def write_seg(
    labels: str | Path | MetaTensor,
    source: str | Path,
    out: str | Path,
    *,
    modality: str | None = None,
    series: str | int | None = None,
    structures: Mapping[int, str] | None = None,
    relabel: Mapping[str | int, str | int] | None = None,
) -> Path:
    """Write a label volume as one binary DICOM SEG that refers to the DICOM series it was made of; returns ``out``.

    Each structure that is found becomes a segment with its SNOMED CT code, in the order vertebra, disc, canal, sacrum;
    empty frames are left out. The labels are placed on the images of the series by the affines: axes that are flipped
    or in another order are followed exactly, another grid gets the nearest label, and a tilted gantry keeps its tilt.
    The file is read back from its bits, and it stays only if the centroid of every segment lies within half a voxel of
    that of the labels, along each axis of the images (of the labels' voxels, where these are larger).

    Args:
        labels: label volume, a file or ``(1, X, Y, Z)`` with its RAS affine.
        source: DICOM folder, ZIP archive, or any file of a series, whose frame of reference the labels share.
        out: file to write, ending in .dcm.
        modality: "CT" or "MR", where the folder holds several series.
        series: description, number or UID of the series, where the modality is not enough.
        structures: what the label numbers mean, by default as in ``STRUCTURES`` (1 vertebra, 2 disc, 3 canal, 4
            sacrum), or single levels (``L3``, ``L3/L4``); numbers of one structure become one segment. Names in a label
            file, as 3D Slicer writes them, come before its numbers.
        relabel: structure of a name or value in a label file that is none of these.

    Raises:
        MissingPathError: labels or source do not exist.
        ImageReadError: the labels cannot be read, or the folder holds no one such series.
        UnknownLabelError: a name or number that ``structures`` does not name, or a structure without a code.
        GridMismatchError: the labels lie wholly outside the series.
        SourceError: the series lacks what a SEG must refer to.
        SegError: no structure lies in the series, the file that was written does not say what the labels say, or
            highdicom is not installed.
    """
    out = Path(out)
    with opened_source(source, modality, None if series is None else str(series), "--series") as found:
        _write(labels, found, out, structures, relabel)
    return out


def _write(
    labels: str | Path | MetaTensor,
    found: Source,
    out: Path,
    structures: Mapping[int, str] | None,
    relabel: Mapping[str | int, str | int] | None,
) -> None:
    _check_target(out, found)
    meant = STRUCTURES if structures is None else {int(label): str(name) for label, name in structures.items()}
    volume = labels if isinstance(labels, MetaTensor) else _read(labels, LabelScheme(meant, relabel, strict=False))
    what = str(volume.meta.get("filename_or_obj", "the label volume"))
    names, numbers = _numbered(volume, meant, what)
    frames = label_on_grid(numbers, found.grid(), bone=False)[0].numpy()[0].astype(np.uint8)
    placed = [number for number in range(1, len(names) + 1) if (frames == number).any()]
    if not placed:
        raise SegError(f"{what} holds no {' or '.join(names)} within {found}; look at the labels, nothing was written.")
    for number, name in enumerate(names, 1):
        if number not in placed and (numbers == number).any():
            logger.warning("%s: the %s lies outside the images or between them and is not in %s", what, name, out)
    centroids = {names[number - 1]: _centroid_within(numbers, number, found) for number in placed}
    tolerance = _TOLERANCE_VOXELS * np.maximum(1, _size_in_voxels(numbers, found))
    with atomic_write(out) as temporary:
        _build(np.searchsorted([0, *placed], frames * np.isin(frames, placed)), list(centroids), found).save_as(
            temporary
        )
        told = _compare(read_seg(temporary), centroids, tolerance, found, out)
    logger.info("wrote %s, a DICOM SEG of %s, and read it back: %s", out, found, told)


def _read(path: str | Path, scheme: LabelScheme) -> MetaTensor:
    volume = read_label(path, scheme)
    for sentence in volume.meta.get("warnings", ()):
        logger.warning("%s", sentence)
    return volume


def _check_target(out: Path, source: Source) -> None:
    if len(source.paths) not in (1, len(source.slices)):
        raise SegError(
            f"{source.folder}: {source.series} is spread over several multi-frame files; "
            "export it with a file per image."
        )
    check_output_file(out)
    if out.suffix.lower() != ".dcm":
        raise SegError(f"A DICOM SEG is one file that ends in .dcm, got {out}; give it such a name.")
    if out.resolve() in {path.resolve() for path in source.paths}:
        raise SegError(f"{out} is an image of the series itself; choose another name for the DICOM SEG.")


def _numbered(labels: MetaTensor, structures: Mapping[int, str], what: str) -> tuple[list[str], MetaTensor]:
    """Return the structures in the order of their table, and the labels with the number, from 1, of each in it."""
    wanted = {int(label): str(name) for label, name in structures.items() if name != STRUCTURES[0]}
    unknown = sorted(set(wanted.values()) - set(_CODES))
    if unknown:
        raise UnknownLabelError(
            f"No code is known for {', '.join(unknown)}; name structures of {', '.join(SNOMED_CT)}, or levels such as "
            "L3 and L3/L4."
        )
    names = [name for name in _CODES if name in wanted.values()]
    if labels.ndim != 4 or labels.shape[0] != 1:
        raise ValueError(f"Expected a label volume (1, X, Y, Z), got {tuple(labels.shape)}.")
    voxels = labels.as_tensor().cpu().numpy()
    strange = [value for value in np.unique(voxels[voxels != 0]).tolist() if value not in wanted]
    if strange:
        listed, meant = ", ".join(f"{value:g}" for value in strange[:5]), ", ".join(map(str, wanted))
        raise UnknownLabelError(
            f"{what} holds the label {listed}, but structures names only {meant}; add what it means."
        )
    numbers = np.zeros(voxels.shape, np.uint8)
    for label, name in wanted.items():
        numbers[voxels == label] = names.index(name) + 1
    meta = {key: value for key, value in labels.meta.items() if key != "affine"}
    return names, MetaTensor(torch.from_numpy(numbers), affine=labels.affine.double().cpu(), meta=meta)


def _centroid_within(numbers: MetaTensor, number: int, source: Source) -> NDArray[np.float64]:
    """Return the mean place ``(3,)`` in RAS mm of the voxels of one number that lie within the images of the series."""
    affine = numbers.affine.numpy()
    places = affine[:3, :3] @ np.array(np.nonzero(numbers.numpy()[0] == number)) + affine[:3, 3:]
    to_grid = np.linalg.inv(source.affine)
    on_grid = to_grid[:3, :3] @ places + to_grid[:3, 3:]
    limits = np.array(source.shape)[:, None] - 0.5
    within = ((on_grid >= -0.5) & (on_grid <= limits)).all(axis=0)
    return np.asarray(places[:, within].mean(axis=1))


def _size_in_voxels(numbers: MetaTensor, source: Source) -> NDArray[np.float64]:
    """Return the extent ``(3,)`` of a voxel of the labels along the axes of the series, in voxels of the series."""
    return np.asarray(np.abs(np.linalg.inv(source.affine)[:3, :3] @ numbers.affine.numpy()[:3, :3]).sum(axis=1))


def _build(frames: NDArray[Any], names: Sequence[str], source: Source) -> pydicom.Dataset:
    """Return the SEG of segment numbers ``(X, Y, Z)`` on the grid of the series."""
    try:
        import highdicom
    except ImportError as error:
        raise SegError("Writing DICOM SEG needs the package highdicom; `pip install highdicom` brings it.") from error
    images = list(read_headers(source, "a DICOM SEG").values())
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells each module that it copies
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The string .* is unlikely", UserWarning)  # a name without a comma
            return highdicom.seg.Segmentation(
                source_images=images,
                pixel_array=_in_order_of_file(frames.astype(np.uint8).transpose(2, 1, 0), images[0], source),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[_description(number, name) for number, name in enumerate(names, 1)],
                series_instance_uid=generate_uid(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="spinefuse",
                manufacturer_model_name="spinefuse",
                software_versions=__version__,
                device_serial_number="none",
                content_label="SPINE",
                content_description="Vertebrae, sacrum, discs and spinal canal",
                series_description="Spine segmentation (research only)",
                omit_empty_frames=True,
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # what a header lacks, in highdicom's words
        raise SegError(f"{source} cannot carry a DICOM SEG ({error}); export the series again.") from error


def _in_order_of_file(frames: NDArray[np.uint8], header: pydicom.Dataset, source: Source) -> NDArray[np.uint8]:
    """Put the frames ``(slices, rows, columns)`` of a multi-frame source where its file has them."""
    if source.slices[0].frame is None:
        return frames
    ordered = np.zeros((int(header.NumberOfFrames), *frames.shape[1:]), np.uint8)
    ordered[[each.frame or 0 for each in source.slices]] = frames
    return ordered


def _description(number: int, name: str) -> Any:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    label = next((label for label, structure in STRUCTURES.items() if structure == name), number)
    value, meaning = _CODES[name]
    colour = structure_colour(label)
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=Code(value, "SCT", meaning),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name="spinefuse", family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        display_color=CIELabColor.from_rgb(*(int(colour[place : place + 2], 16) for place in (1, 3, 5))),
    )


def _compare(
    segments: Sequence[Segment],
    centroids: Mapping[str, NDArray[np.float64]],
    tolerance: NDArray[np.float64],
    source: Source,
    out: Path,
) -> str:
    """Say how far each segment of the file lies from its labels; raise SegError where that is too far."""
    if [segment.label for segment in segments] != list(centroids):
        held = ", ".join(segment.label for segment in segments)
        raise SegError(f"{out} was to hold {', '.join(centroids)}, but holds {held}; it was deleted, report this.")
    told = []
    for segment in segments:
        away = segment.centroid_mm - centroids[segment.label]
        voxels = np.linalg.inv(source.affine[:3, :3]) @ away
        distance = float(np.linalg.norm(away))
        if segment.frame_of_reference != source.series.frame_of_reference or not (np.abs(voxels) <= tolerance).all():
            raise SegError(
                f"{out} was deleted, as its {segment.label} lies {distance:.2f} mm from that of the labels; "
                f"bring the labels onto the grid of {source} first."
            )
        told.append(f"{segment.label} {segment.voxels} voxels, centroid {distance:.2f} mm from the labels'")
    return "; ".join(told)
