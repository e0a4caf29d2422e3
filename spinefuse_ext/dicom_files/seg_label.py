"""A DICOM SEG as a label volume: every frame at its own place, every segment as its class."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.enhanced import FUNCTIONAL_GROUPS
from spinefuse_ext.dicom_files.read_seg import functional_group
from spinefuse_ext.formats import is_system_name
from spinefuse_ext.images.kind import is_dicom_file
from spinefuse_ext.images.stored_image import LPS_TO_RAS
from spinefuse_ext.label_files.label_classes import LabelScheme
from spinefuse_ext.label_files.label_names import NamedValue
from spinefuse_ext.validation import ImageReadError

_EVEN = 0.1  # part of a step (of a pixel, across) by which a frame may lie beside the even stack
_BOTH = 0.5  # part of the smaller structure from which on two segments in one place are no border that overlaps
_KINDS = ("BINARY", "LABELMAP", "FRACTIONAL")


def find_seg(path: Path) -> Path | None:
    """Return the DICOM SEG that ``path`` is, or the one that a folder holds; None where there is none.

    Raises:
        ImageReadError: the folder holds several, or it is an RT structure set, which has outlines and no voxels.
    """
    if path.is_file():
        return path if _modality(path) == "SEG" else None
    found = [file for file in _files(path) if _modality(file) == "SEG"]
    if len(found) > 1:
        raise ImageReadError(f"{path} holds {len(found)} DICOM SEG files ({found[0].name}, {found[1].name}); name one.")
    return found[0] if found else None


def seg_label(path: Path, scheme: LabelScheme) -> MetaTensor:
    """Return the classes ``(1, X, Y, Z)`` of a DICOM SEG on a grid of its own frames, with its RAS affine.

    Segments are known by their labels and codes. A plane between others that has no frame is background.

    Raises:
        ImageReadError: it is damaged or not binary, its frames make no even stack, or structures share their voxels.
        UnknownLabelError: a segment that has voxels is none of the classes.
    """
    try:
        file = pydicom.dcmread(path)
        regions = _regions(file, path)
        planes = _planes(file)
        segments = {int(each.SegmentNumber): _named(each) for each in file.SegmentSequence}
        held = [segments[number] for number in sorted(regions)]
    except ImageReadError:
        raise
    except Exception as error:  # pydicom has a kind of its own for each way a file can be damaged
        raise ImageReadError(f"{path} is no whole DICOM SEG ({error}); export it again.") from error
    classes, notes = scheme.of_segments(held, path, "the file")
    affine, places = _grid(planes, path)
    canvas = Canvas((int(file.Columns), int(file.Rows), int(places.max()) + 1))
    for segment in held:
        for frame, mask in regions[segment.value]:
            canvas.paint(np.s_[:, :, places[frame]], mask.T, classes[segment])
    notes += canvas.overlaps(scheme, path)
    return _volume(canvas.values, affine, file, path, [f"{path}: {note}" for note in notes])


class Canvas:
    """A volume on which segments are put one over the other; it counts the voxels that two classes claim."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = np.zeros(shape, np.int32)
        self._claimed: Counter[tuple[int, int]] = Counter()

    def paint(self, where: Any, mask: NDArray[np.bool_], number: int) -> None:
        """Give the voxels of a mask in a part of the volume their class; background changes nothing."""
        target = self.values[where]
        if not number or not mask.any():
            return
        for other in np.unique(target[mask & (target != 0) & (target != number)]).tolist():
            self._claimed[other, number] += int((mask & (target == other)).sum())
        target[mask] = number

    def overlaps(self, scheme: LabelScheme, path: object) -> list[str]:
        """A sentence for each two classes that share voxels.

        Raises:
            ImageReadError: they share more than half of one of them.
        """
        told = []
        for (below, above), count in self._claimed.items():
            names = [scheme.labels.get(number, str(number)) for number in (below, above)]
            sizes = [int((self.values == below).sum()) + count, int((self.values == above).sum())]
            if count > _BOTH * min(sizes):
                raise ImageReadError(
                    f"{path}: {count} voxels are both {names[0]} and {names[1]}, more than half of one of them; export "
                    "the segmentation without overlaps."
                )
            told.append(f"{count} voxels are both {names[0]} and {names[1]}; they count as {names[1]}, the later one")
        return told


@dataclass(frozen=True)
class _Planes:
    """Corner ``(n, 3)``, axes ``(6,)`` and pixel spacing (rows, columns) of the frames, LPS mm; steps they may have."""

    corners: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: tuple[float, float]
    steps: tuple[float, ...]


def _files(folder: Path) -> list[Path]:
    """Files of a person in a folder and below, as series are looked for."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in paths if not any(map(is_system_name, path.relative_to(folder).parts))]


def _modality(path: Path) -> str:
    if not is_dicom_file(path):
        return ""
    try:
        modality = str(pydicom.dcmread(path, stop_before_pixels=True, force=True).get("Modality", ""))
    except Exception:  # whoever reads the images says what is wrong
        return ""
    if modality == "RTSTRUCT":
        raise ImageReadError(
            f"{path} is an RT structure set, which holds outlines and no voxels; export the label as DICOM SEG, NIfTI "
            "or NRRD."
        )
    return modality


def _named(segment: Any) -> NamedValue:
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or [pydicom.Dataset()]
    name = str(segment.get("SegmentLabel") or codes[0].get("CodeMeaning") or f"segment {segment.SegmentNumber}")
    return NamedValue(int(segment.SegmentNumber), name, str(codes[0].get("CodeValue", "")))


def _regions(file: Any, path: Path) -> dict[int, list[tuple[int, NDArray[np.bool_]]]]:
    """Segment number -> frame and mask ``(rows, columns)`` of every frame that has voxels of it."""
    kind = str(file.get("SegmentationType", ""))
    if kind not in _KINDS:
        raise ImageReadError(f"{path} is a DICOM SEG of the type {kind or 'unknown'}; export it as a binary one.")
    frames = np.asarray(file.pixel_array).reshape(-1, int(file.Rows), int(file.Columns))
    if kind == "FRACTIONAL" and len(np.setdiff1d(np.unique(frames), (0, frames.max()))):
        raise ImageReadError(f"{path} holds probabilities, not labels; export it as a binary DICOM SEG.")
    regions: dict[int, list[tuple[int, NDArray[np.bool_]]]] = defaultdict(list)
    for place, frame in enumerate(frames):
        numbers = np.unique(frame[frame > 0]).tolist() if kind == "LABELMAP" else [_number(file, place)]
        for number in numbers:
            mask = frame == number if kind == "LABELMAP" else frame > 0
            if mask.any():
                regions[int(number)].append((place, mask))
    return regions


def _number(file: Any, place: int) -> int:
    """The segment that a frame belongs to."""
    shared, frames = (file[name].value for name in FUNCTIONAL_GROUPS)
    identified = functional_group("SegmentIdentificationSequence", frames[place], shared)
    return int(identified.ReferencedSegmentNumber)


def _planes(file: Any) -> _Planes:
    shared, frames = (file[name].value for name in FUNCTIONAL_GROUPS)
    corners = [functional_group("PlanePositionSequence", one, shared).ImagePositionPatient for one in frames]
    axes = np.array(
        [functional_group("PlaneOrientationSequence", one, shared).ImageOrientationPatient for one in frames], float
    )
    measures = [functional_group("PixelMeasuresSequence", one, shared) for one in frames]
    spacings = np.array([one.PixelSpacing for one in measures], float)
    if abs(axes - axes[0]).max() > 1e-3 or abs(spacings - spacings[0]).max() > 1e-3:
        raise ValueError("its frames have several orientations or pixel sizes")
    steps = tuple(float(measures[0].get(name) or 0) for name in ("SpacingBetweenSlices", "SliceThickness"))
    return _Planes(np.array(corners, float), axes[0], (float(spacings[0][0]), float(spacings[0][1])), steps)


def _grid(planes: _Planes, path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the affine (RAS) of the stack of the frames, and the place of each frame in it."""
    along, down = planes.axes[:3], planes.axes[3:]
    normal = np.cross(along, down)
    heights = planes.corners @ normal
    low = heights.min()
    step = _step(heights, planes.steps, path)
    places = np.rint((heights - low) / step).astype(np.int64)
    first = planes.corners[int(heights.argmin())]
    moves = planes.corners - first
    used = places > 0
    across = (moves[used] / places[used, None]).mean(axis=0) if used.any() else normal * step
    if abs(moves - places[:, None] * across).max() > _EVEN * max(step, *planes.spacing):
        raise ImageReadError(
            f"{path}: the frames make no even stack; export the segmentation on an evenly spaced series."
        )
    affine = np.eye(4)
    columns = (along * planes.spacing[1], down * planes.spacing[0], across)
    affine[:3, :3], affine[:3, 3] = np.stack(columns, axis=1), first
    return np.asarray(LPS_TO_RAS @ affine), places


def _step(heights: NDArray[np.float64], said: tuple[float, ...], path: Path) -> float:
    """The distance of planes: what the file says where all frames fit to it, else the smallest that occurs."""
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > 1e-3]
    for step in said:
        if step > 0 and (abs(gaps / step - np.rint(gaps / step)) < _EVEN).all() and (gaps > step / 2).all():
            return float(step) if not len(gaps) else float(gaps.sum() / np.rint(gaps / step).sum())
    if not len(gaps):
        raise ImageReadError(f"{path} has frames in one plane and does not say how thick it is; export it again.")
    return float(gaps.min())


def _volume(
    values: NDArray[np.int32], affine: NDArray[np.float64], file: Any, path: Path, warnings: list[str]
) -> MetaTensor:
    meta = {
        "filename_or_obj": str(path),
        "original_affine": affine.copy(),
        "spatial_shape": np.array(values.shape),
        "space": "RAS",
        "patient_id": str(file.get("PatientID", "")),
        "frame_of_reference": str(file.get("FrameOfReferenceUID", "")),
        "warnings": warnings,
    }
    return MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.as_tensor(affine), meta=meta)
