"""The verbs ``register``, ``fuse`` and ``segment`` as functions that take images and return arrays and scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor

from spinefuse_ext.api.images import Image, Inputs, PointList, load
from spinefuse_ext.api.results import Fusion, Registration, Segmentation, files_in
from spinefuse_ext.api.session import Session, session
from spinefuse_ext.files import atomic_write
from spinefuse_ext.registration import case
from spinefuse_ext.registration.mutual_information import Limits
from spinefuse_ext.registration.shared_space import check_shared_frame, same_patient
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM
from spinefuse_ext.verbs import single_case
from spinefuse_ext.verbs.outputs import FUSED, SEGMENTED
from spinefuse_ext.verbs.register import register as register_verb
from spinefuse_ext.verbs.results import FUSED_FILE, PREDICTION_FILE, structure_trust, structure_volumes


def register(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    ct: Image,
    mr: Image,
    *,
    ct_landmarks: PointList | None = None,
    mr_landmarks: PointList | None = None,
    transform: str | Path | None = None,
    model: str | None = None,
    vertebrae: Image | None = None,
    field_spacing_mm: float = FIELD_SPACING_MM,
    allow_different_patients: bool = False,
    ct_series: str | None = None,
    mr_series: str | None = None,
    refine: bool = False,
    refine_mm: float = Limits().shift_mm,
    refine_deg: float = Limits().turn_deg,
    seed: int = 0,
    bones: bool = False,
    bone_images: bool = True,
    headers: bool = False,
    ct_label: Image | None = None,
    mr_label: Image | None = None,
    scheme: str | None = None,
    ct_anchor: str | Sequence[str] = (),
    mr_anchor: str | Sequence[str] = (),
    out: str | Path | None = None,
    verbose: bool = False,
) -> Registration:
    """Bring an MR onto the grid of its CT, as ``spinefuse register`` does.

    An image is a path (DICOM folder, NIfTI, NRRD, MetaImage), what :func:`read_volume` returns, a nibabel image, or an
    array ``(X, Y, Z)`` with its affine, voxel to RAS mm. An image in memory is treated as a NIfTI file of it would be.

    Args:
        ct: CT, HU.
        mr: MR of the same patient.
        ct_landmarks: points on the CT, a file or ``Landmarks``; without points and ``transform`` both scans are
            segmented, and their bones register them.
        mr_landmarks: points of the same names on the MR.
        transform: transform file from CT to MR points, in place of landmarks.
        model: "rigid", "similarity", "affine", "thin_plate" or "per_vertebra"; by default "per_vertebra" for bones and
            "rigid" for landmarks.
        vertebrae: label volume of the CT with a number per vertebra, for "per_vertebra".
        field_spacing_mm: distance of the vectors of a map that is not linear.
        allow_different_patients: go on although the PatientIDs differ.
        ct_series: SeriesInstanceUID, number or description of the CT series, where a folder holds several.
        mr_series: the same of the MR series.
        refine: improve what landmarks, a transform or headers say by mutual information, if held-out landmarks or edges
            confirm it.
        refine_mm: farthest shift of a refinement.
        refine_deg: largest turn of a refinement.
        seed: of the points at which the images are compared.
        bones: register by bones although landmarks are given, which then tell the error.
        bone_images: let the images correct each bone; else surfaces alone say where it lies.
        headers: trust the headers that both images share one space, where nothing else is given.
        ct_label: label volume of the CT (vertebrae, discs, canal, sacrum) in place of the network's.
        mr_label: the same of the MR.
        scheme: whose numbers both label volumes hold, such as "totalsegmentator".
        ct_anchor: a level that is known and a point on it in the CT, RAS mm: ``"L3@-4.5,12,310"``.
        mr_anchor: the same in the MR.
        out: folder for the files of ``spinefuse register``; by default nothing is kept.
        verbose: tell progress as the verb does.

    Raises:
        SpinefuseError: whatever the verb refuses, in the same sentence.
    """
    with session(out, verbose=verbose, function=register_verb) as call:
        _check_headers(ct, mr, allow_different_patients, trusted=headers)
        fit = register_verb(
            call.inputs.image(ct, "ct"),
            call.inputs.image(mr, "mr"),
            call.out,
            ct_landmarks=call.inputs.points(ct_landmarks, "ct_landmarks"),
            mr_landmarks=call.inputs.points(mr_landmarks, "mr_landmarks"),
            model=model,
            vertebrae=call.inputs.optional_image(vertebrae, "vertebrae"),
            field_spacing_mm=field_spacing_mm,
            allow_different_patients=allow_different_patients,
            transform=transform,
            ct_series=ct_series,
            mr_series=mr_series,
            refine=refine,
            refine_mm=refine_mm,
            refine_deg=refine_deg,
            seed=seed,
            bones=bones,
            bone_images=bone_images,
            headers=headers,
            ct_label=call.inputs.optional_image(ct_label, "ct_label"),
            mr_label=call.inputs.optional_image(mr_label, "mr_label"),
            scheme=scheme,
            ct_anchor=ct_anchor,
            mr_anchor=mr_anchor,
        )
        fixed, moved = (load(call.out / name, np.float32) for name in (case.CT_FILE, case.MR_FILE))
        return Registration(fixed, moved, fit, _report(call), _files(call, call.out, case.FILES))


def fuse(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    ct: Image,
    mr: Image,
    *,
    ct_landmarks: PointList | None = None,
    mr_landmarks: PointList | None = None,
    transform: str | Path | None = None,
    vertebrae: Image | None = None,
    checkpoint: str | Path | None = None,
    ct_series: str | None = None,
    mr_series: str | None = None,
    dicom: str | Path | None = None,
    delta: str | Sequence[str] = (),
    bundle: str | Path | None = None,
    out: str | Path | None = None,
    verbose: bool = False,
    **overrides: Any,
) -> Fusion:
    """Fuse a CT and its MR, as ``spinefuse fuse`` does.

    The pair is registered already; or landmarks or a transform file say how the MR comes onto the CT.

    Args:
        ct: CT, HU; images as for :func:`register`. The fused image lies on its grid.
        mr: MR of the same patient.
        ct_landmarks: points on the CT, a file or ``Landmarks``.
        mr_landmarks: points of the same names on the MR.
        transform: transform file from CT to MR points, in place of landmarks.
        vertebrae: label volume of the CT, for ``registration_model="per_vertebra"``.
        checkpoint: weights of the same network; those of the bundle by default.
        ct_series: SeriesInstanceUID, number or description of the CT series, where a folder holds several.
        mr_series: the same of the MR series.
        dicom: DICOM series on whose grid a CT lies that is none itself; gives ``fused_dicom`` in ``out``.
        delta: config files on top of ``inference.json``.
        bundle: folder of the bundle.
        out: folder for the files of ``spinefuse fuse``; by default nothing is kept.
        verbose: show the command that does the same, progress and results.
        overrides: settings by config id, such as ``canvas=[256, 256]`` or ``**{"network_def#dim": 32}``.

    Raises:
        SpinefuseError: whatever the verb refuses, in the same sentence.
    """
    with session(out, verbose=verbose, function=fuse, overrides=overrides) as call:
        _check_headers(ct, mr)
        files = _registration_files(call.inputs, ct_landmarks, mr_landmarks, transform)
        given = _texts(checkpoint=checkpoint, ct_series=ct_series, mr_series=mr_series, dicom=dicom, bundle=bundle)
        files["vertebrae"] = call.inputs.optional_image(vertebrae, "vertebrae")
        pair = call.inputs.image(ct, "ct"), call.inputs.image(mr, "mr")
        if not call.stays and "save_series" not in overrides:
            overrides = {"save_series": False, **overrides}  # nobody would see it
        options: dict[str, Any] = {**files, **given, **overrides}
        folder = single_case.fuse(*pair, str(call.out), delta=delta, **options).folder
        return Fusion(load(folder / FUSED_FILE, np.float32), tuple(call.warnings), _files(call, folder, FUSED))


def segment(  # noqa: PLR0913 (the options of the verb, all keyword-only but one)
    image: Image | None = None,
    *,
    ct: Image | None = None,
    mr: Image | None = None,
    ct_landmarks: PointList | None = None,
    mr_landmarks: PointList | None = None,
    transform: str | Path | None = None,
    checkpoint: str | Path | None = None,
    fusion_checkpoint: str | Path | None = None,
    series: str | None = None,
    ct_series: str | None = None,
    mr_series: str | None = None,
    dicom: str | Path | None = None,
    fused: bool = False,
    delta: str | Sequence[str] = (),
    bundle: str | Path | None = None,
    out: str | Path | None = None,
    verbose: bool = False,
    **overrides: Any,
) -> Segmentation:
    """Label vertebrae, sacrum, discs and canal of a scan, as ``spinefuse segment`` does.

    Args:
        image: the scan, CT, MR or fused; images as for :func:`register`. The labels lie on its grid.
        ct: CT of a pair, in place of ``image``; the shipped network sees both one by one.
        mr: MR of the pair.
        ct_landmarks: points on the CT of a pair, by which the MR is registered first.
        mr_landmarks: points of the same names on the MR.
        transform: transform file from CT to MR points, in place of landmarks.
        checkpoint: weights of the same network; those of the bundle by default.
        fusion_checkpoint: weights that fuse the pair.
        series: SeriesInstanceUID, number or description of the series, where the folder of ``image`` holds several.
        ct_series: the same for the CT of a pair.
        mr_series: the same for the MR of a pair.
        dicom: DICOM series on whose grid the image lies; gives ``prediction.dcm`` in ``out``.
        fused: let the network see the fused image of a pair, as weights of one's own do anyway.
        delta: config files on top of ``inference.json``, such as ``"pair.json"``.
        bundle: folder of the bundle.
        out: folder for the files of ``spinefuse segment``; by default nothing is kept.
        verbose: show the command that does the same, progress and results.
        overrides: settings of the segmentation by config id, such as ``canvas=[256, 256]``.

    Raises:
        SpinefuseError: whatever the verb refuses, in the same sentence.
    """
    with session(out, verbose=verbose, function=segment, overrides=overrides) as call:
        if ct is not None and mr is not None:
            _check_headers(ct, mr)
        given = _texts(
            **{"checkpoint": checkpoint, "fusion_checkpoint": fusion_checkpoint, "dicom": dicom, "bundle": bundle},
            **{"series": series, "ct_series": ct_series, "mr_series": mr_series},
        )
        files = _registration_files(call.inputs, ct_landmarks, mr_landmarks, transform)
        images = {"image": image, "ct": ct, "mr": mr}
        paths = {name: call.inputs.optional_image(one, name) for name, one in images.items()}
        if not call.stays and "save_seg" not in overrides:
            overrides = {"save_seg": False, **overrides}  # nobody would see it
        options: dict[str, Any] = {**paths, **files, **given, **overrides}
        result = single_case.segment(out=str(call.out), fused=fused, delta=delta, **options)
        return _segmentation(call, result)


def _segmentation(call: Session, result: single_case.CaseResult) -> Segmentation:
    folder = result.folder
    labels = load(folder / PREDICTION_FILE, np.uint8)
    fused, differ = folder / FUSED_FILE, folder / "disagreement.nii.gz"
    return Segmentation(
        labels=labels,
        names=result.labels,
        volumes_ml=structure_volumes(labels.array, labels.affine, result.labels),
        trust=structure_trust(folder),
        disagreement=load(differ, np.bool_) if differ.is_file() else None,
        fused=load(fused, np.float32) if result.fused else None,
        warnings=tuple(call.warnings),
        paths=_files(call, folder, (*SEGMENTED, *(FUSED if result.fused else ()))),
    )


def _check_headers(ct: Image, mr: Image, allowed: bool = False, *, trusted: bool = False) -> None:
    """Refuse a pair in memory whose headers say that it is none; those of files are read with them."""
    if isinstance(ct, MetaTensor) and isinstance(mr, MetaTensor):
        same_patient(ct, mr, allowed)
        if trusted:
            check_shared_frame(ct, mr)


def _registration_files(
    inputs: Inputs, ct: PointList | None, mr: PointList | None, transform: str | Path | None
) -> dict[str, str | None]:
    return {
        "ct_landmarks": inputs.points(ct, "ct_landmarks"),
        "mr_landmarks": inputs.points(mr, "mr_landmarks"),
        **_texts(transform=transform),
    }


def _texts(**given: str | Path | None) -> dict[str, Any]:
    """Paths and names as the verbs take them."""
    return {name: None if value is None else str(value) for name, value in given.items()}


def _files(call: Session, folder: Path, patterns: Sequence[str]) -> Mapping[str, Path]:
    """The files that stay, by their names."""
    return files_in(folder.absolute(), patterns) if call.stays else {}


def _report(call: Session) -> dict[str, Any]:
    """What ``registration.json`` holds; it names no file that was written for an image in memory."""
    path = call.out / case.REPORT_FILE
    text = path.read_text(encoding="utf-8")
    plain = call.inputs.plain(text)
    if call.stays and plain != text:
        with atomic_write(path) as temporary:
            temporary.write_text(plain, encoding="utf-8")
    report: dict[str, Any] = json.loads(plain)
    return report
