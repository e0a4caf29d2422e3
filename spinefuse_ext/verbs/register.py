"""The verb ``spinefuse register``: by landmarks, a transform or headers, or without a click by bones."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from spinefuse_ext.console import silence
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.levels.anchors import NamedPoint
from spinefuse_ext.levels.cross_check import cross_check
from spinefuse_ext.levels.find import KnownLevels, find_levels
from spinefuse_ext.levels.pairing import NumberedScan, Pairing, pair_levels
from spinefuse_ext.levels.read import read_structures
from spinefuse_ext.progress_bar import stage
from spinefuse_ext.registration.bone_fit import BoneFit, fit_bones
from spinefuse_ext.registration.bone_surface import Numbered
from spinefuse_ext.registration.case import (
    CT_LEVELS_FILE,
    MR_LEVELS_FILE,
    CaseExtras,
    check_case_folder,
    register_case,
    write_case,
)
from spinefuse_ext.registration.case_inputs import Start, read_points
from spinefuse_ext.registration.fit import RegistrationFit
from spinefuse_ext.registration.held_out import HeldOut, held_out
from spinefuse_ext.registration.models import Model
from spinefuse_ext.registration.mutual_information import Limits
from spinefuse_ext.registration.shared_space import same_patient
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM
from spinefuse_ext.validation import ConfigError, GridMismatchError, LandmarkError, LevelsError
from spinefuse_ext.verbs.results import PREDICTION_FILE
from spinefuse_ext.verbs.single_case import segment
from spinefuse_ext.volumes.volume import read_volume

logger = logging.getLogger(__name__)

#: A label of which less than this share lies in its image belongs to another one.
_INSIDE = 0.8


@dataclass(frozen=True)
class _Labels:
    """What is known of the bones of one scan: a label volume or None for the network, and how to read it."""

    role: str
    path: str | None
    scheme: str | None
    anchors: tuple[NamedPoint, ...]


def register(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    ct: str | Path,
    mr: str | Path,
    out: str | Path,
    *,
    ct_landmarks: str | Path | None = None,
    mr_landmarks: str | Path | None = None,
    model: str | None = None,
    vertebrae: str | Path | None = None,
    field_spacing_mm: float = FIELD_SPACING_MM,
    allow_different_patients: bool = False,
    transform: str | Path | None = None,
    ct_series: str | int | None = None,
    mr_series: str | int | None = None,
    refine: bool = False,
    refine_mm: float = Limits().shift_mm,
    refine_deg: float = Limits().turn_deg,
    seed: int = 0,
    bones: bool = False,
    bone_images: bool = True,
    headers: bool = False,
    ct_label: str | Path | None = None,
    mr_label: str | Path | None = None,
    scheme: str | None = None,
    ct_anchor: str | Sequence[str] = (),
    mr_anchor: str | Sequence[str] = (),
) -> RegistrationFit:
    """Bring an MR onto the grid of its CT: ``spinefuse register --ct C --mr M --out CASE``.

    Nothing else given, both scans are segmented by the weights of the bundle, their vertebrae told apart and paired,
    and each carried over by its surface and the images. Landmarks or a transform file do it as ``register_case`` says.

    Args:
        ct: CT as image file or DICOM folder.
        mr: MR as image file or DICOM folder.
        out: folder to write; files of an earlier registration in it are replaced.
        ct_landmarks: points on the CT, ``.mrk.json``, ``.fcsv`` or ``.csv``; where bones register, they are held out
            and tell the error.
        mr_landmarks: points of the same names on the MR.
        model: "rigid", "similarity", "affine", "thin_plate" or "per_vertebra"; by default "per_vertebra" for bones and
            "rigid" for landmarks.
        vertebrae: label volume of the CT with a number per vertebra, for landmarks and "per_vertebra".
        field_spacing_mm: distance of the vectors of ``transform.h5``.
        allow_different_patients: go on although the PatientIDs differ.
        transform: transform file from CT to MR points, in place of landmarks.
        ct_series: SeriesInstanceUID, number or description of the CT series, where the folder holds several.
        mr_series: the same of the MR series.
        refine: improve what landmarks, a transform or headers say by mutual information, if held-out landmarks or edges
            confirm it.
        refine_mm: farthest shift of such a refinement.
        refine_deg: largest turn of such a refinement.
        seed: of the points at which the images are compared.
        bones: register by bones although landmarks are given.
        bone_images: let the images correct each bone; else surfaces alone say where it lies.
        headers: trust the headers that both images share one space, where nothing else is given.
        ct_label: label volume of the CT (vertebrae, discs, canal, sacrum) in place of the network's.
        mr_label: the same of the MR.
        scheme: whose numbers both label volumes hold: "totalsegmentator", "verse", "tptbox" or "spider".
        ct_anchor: a level that is known and a point on it in the CT, RAS mm: ``L3@-4.5,12,310``; several as a list.
        mr_anchor: the same in the MR.

    Raises:
        SpinefuseError: whatever is refused, in one sentence; then nothing is written.
    """
    for_bones = {"ct_label": ct_label, "mr_label": mr_label, "ct_anchor": ct_anchor, "mr_anchor": mr_anchor}
    asked = [name for name, value in {**for_bones, "scheme": scheme}.items() if value not in (None, ())]
    wanted = bones or bool(asked)
    if headers and (wanted or ct_landmarks is not None or transform is not None):
        raise ConfigError("--headers trusts the images alone; leave it out, or landmarks, labels and the transform.")
    if not wanted and (headers or ct_landmarks is not None or mr_landmarks is not None or transform is not None):
        return register_case(
            ct,
            mr,
            out,
            ct_landmarks=ct_landmarks,
            mr_landmarks=mr_landmarks,
            model=model or Model.RIGID,
            vertebrae=vertebrae,
            field_spacing_mm=field_spacing_mm,
            allow_different_patients=allow_different_patients,
            transform=transform,
            ct_series=ct_series,
            mr_series=mr_series,
            refine=refine,
            refine_mm=refine_mm,
            refine_deg=refine_deg,
            seed=seed,
        )
    _check_alone({"transform": transform, "vertebrae": vertebrae, "refine": refine or None})
    if Path(ct).resolve() == Path(mr).resolve() and ct_series == mr_series and Path(ct).is_file():
        raise ConfigError(f"CT and MR are one file, {ct}; give the MR of the patient as --mr.")
    chosen = _model(model)
    known = [
        _Labels(role, None if path is None else str(path), scheme, tuple(map(NamedPoint, _texts(anchor))))
        for role, path, anchor in (("CT", ct_label, ct_anchor), ("MR", mr_label, mr_anchor))
    ]
    if scheme is not None and ct_label is None and mr_label is None:
        raise ConfigError("The option scheme says what numbers a label volume holds; give --ct_label or --mr_label.")
    told = {"ct": ct, "mr": mr, "ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks, "transform": None}
    told |= {"vertebrae": None, "ct_label": ct_label, "mr_label": mr_label}
    check_case_folder(out, told.values(), field_spacing_mm)
    points = read_points(ct_landmarks, mr_landmarks)
    images = read_volume(ct, "CT", ct_series), read_volume(mr, "MR", mr_series)
    same_patient(*images, allow_different_patients)
    given = [label if label.path is None else _checked(label, images) for label in known]
    sources = ((ct, ct_series), (mr, mr_series))
    scans = [_numbered(*each) for each in zip(images, given, sources, strict=True)]
    pairing = pair_levels(*scans, seed=seed)
    logger.info("Paired %s: %s", ", ".join(bone.name for bone in pairing.bones), pairing.evidence)
    compared = images if bone_images else None
    found = fit_bones(pairing.bones, chosen, images=compared, motions=pairing.motions, doubts=pairing.doubts, seed=seed)
    proof = None if points is None else held_out(found.fit.mapping, *points)
    checked = cross_check(scans[0].levels, scans[1].levels, found.fit.mapping)
    start = Start(landmark_fit=found.fit, method="bones")
    return write_case(
        images,
        out,
        start,
        told=told,
        found=[*(each.sentence for each in checked.contradictions), *_level_doubts(scans)],
        allow_different_patients=allow_different_patients,
        field_spacing_mm=field_spacing_mm,
        seed=seed,
        extras=_extras(scans, pairing, found, proof),
    )


def _check_alone(others: Mapping[str, object]) -> None:
    """Raise an error for an option that a registration by bones would ignore."""
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ConfigError(
            f"A registration by bones takes no --{given[0]}; leave it out, or register by landmarks or --headers."
        )


def _model(model: str | None) -> Model:
    if model is not None and model not in list(Model):
        raise LandmarkError(
            f"Expected a registration model out of {', '.join(Model)}, got {model}; choose one of these."
        )
    return Model.PER_VERTEBRA if model is None else Model(model)


def _texts(anchor: str | Sequence[str]) -> list[str]:
    return [str(text) for text in ensure_tuple(anchor)]


def _checked(label: _Labels, images: tuple[MetaTensor, MetaTensor]) -> _Labels:
    """The label volume, if it lies on its own image; told before anything takes time."""
    own, other = images if label.role == "CT" else images[::-1]
    classes, affine = read_structures(str(label.path), label.scheme)
    _check_classes(classes, label)
    inside, elsewhere = (_share_inside(classes, affine, image) for image in (own, other))
    exchanged = not _one_grid(classes, affine, own) and _one_grid(classes, affine, other)
    if inside < _INSIDE or exchanged:
        belongs = exchanged or elsewhere >= _INSIDE
        role = "MR" if label.role == "CT" else "CT"
        hint = f"; it lies on the {role}, so --ct_label and --mr_label are probably exchanged" if belongs else ""
        raise GridMismatchError(
            f"The label volume {label.path} was given for the {label.role} {own.meta['filename_or_obj']}, but "
            f"{'has another grid' if exchanged else f'{1 - inside:.0%} of it lies outside'}{hint or '; check both'}."
        )
    return label


def _check_classes(classes: NDArray[np.uint8], label: _Labels) -> None:
    """Refuse a label volume of a spine whose discs take more room than its vertebrae: the two were exchanged."""
    sizes = {name: int((classes == number).sum()) for number, name in STRUCTURES.items()}
    vertebrae, discs = sizes["vertebra"], sizes["disc"]
    if discs > vertebrae > 0:
        raise LevelsError(
            f"The label volume {label.path} of the {label.role} has more disc than vertebra ({discs} and {vertebrae} "
            "voxels), so its classes are probably exchanged; name its program by --scheme, or correct the file."
        )


def _share_inside(classes: NDArray[np.uint8], affine: NDArray[np.float64], image: MetaTensor) -> float:
    """The share of the labelled voxels that lie in an image."""
    places = np.argwhere(classes > 0)
    if not len(places):
        return 1.0
    points = places @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(image.affine.numpy())
    seen = points @ inverse[:3, :3].T + inverse[:3, 3]
    return float(((seen > -0.5) & (seen < np.array(image.shape[1:]) - 0.5)).all(axis=1).mean())


def _one_grid(classes: NDArray[np.uint8], affine: NDArray[np.float64], image: MetaTensor) -> bool:
    same = classes.shape == tuple(image.shape[1:])
    return bool(same and np.allclose(affine, image.affine.numpy(), atol=1e-2))


def _numbered(image: MetaTensor, label: _Labels, source: tuple[str | Path, str | int | None]) -> NumberedScan:
    """The levels of a scan, of its label volume or of what the network finds in it."""
    path = str(source[0])
    if label.path is not None:
        classes, affine = read_structures(label.path, label.scheme)
        name = f"The label volume {label.path}"
    else:
        classes, affine = _segmented(label.role, source)
        name = f"The segmentation of the {label.role} {path}"
    try:
        numbers, levels = find_levels(classes, affine, known=KnownLevels(label.anchors), name=name)
    except LevelsError as error:
        if label.path is None and not label.anchors:
            raise LevelsError(
                f"No vertebrae were found in the {label.role} {path}, so bones cannot register it; check that it shows "
                "a spine, or give ct_landmarks and mr_landmarks, or --headers to trust that both share one space."
            ) from error
        raise
    return NumberedScan(path, image, Numbered(numbers.astype(np.int32), affine), levels, bool(label.anchors))


def _segmented(role: str, source: tuple[str | Path, str | int | None]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Class numbers of the network's segmentation of one scan."""
    path, series = source
    with tempfile.TemporaryDirectory(prefix="spinefuse.") as folder:
        with silence(), stage(f"Segmenting the {role}"):
            options: dict[str, Any] = {} if series is None else {"series": str(series)}
            options |= {"image_keys": [role.lower()], "save_seg": False}
            options |= {"save_trust": False, "save_disagreement": False}  # the levels are judged, and kept
            out = Path(folder) / f"segmentation_of_the_{role}"  # warnings name it
            segment(str(path), str(out), **options)
        return read_structures(out / PREDICTION_FILE)


def _extras(scans: Sequence[NumberedScan], pairing: Pairing, found: BoneFit, proof: HeldOut | None) -> CaseExtras:
    report: dict[str, Any] = {
        "paired_by": pairing.evidence,
        "levels": {
            role: {"names": scan.levels.told(), "named_by": scan.levels.named_by, "doubts": list(scan.levels.doubts)}
            for role, scan in zip(("ct", "mr"), scans, strict=True)
        },
        "bones": {record.name: record.to_dict() for record in found.records},
        "held_out": None if proof is None else proof.to_dict(),
    }
    files = zip((CT_LEVELS_FILE, MR_LEVELS_FILE), scans, strict=True)
    labels = {
        file: MetaTensor(
            torch.from_numpy(np.asarray(scan.volume.numbers, dtype=np.int32))[None],
            affine=torch.as_tensor(scan.volume.affine),
        )
        for file, scan in files
    }
    summary = [found.summary(), *_level_doubts(scans), *([] if proof is None else [proof.sentence()])]
    return CaseExtras(report, labels, "\n".join(summary))


def _level_doubts(scans: Sequence[NumberedScan]) -> list[str]:
    """What may be otherwise in the names of the levels, once where both scans say the same."""
    said = [doubt for scan in scans for doubt in scan.levels.doubts]
    return list(dict.fromkeys(said))
