"""The verbs that take the images of one patient: fuse a pair, segment an image or a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinefuse_ext.enums import CaseKeys, series_key
from spinefuse_ext.files import check_apart, check_output_file, check_output_folder
from spinefuse_ext.images.kind import is_dicom
from spinefuse_ext.progress_bar import stage
from spinefuse_ext.runs.run import BundleRun
from spinefuse_ext.validation import ConfigError
from spinefuse_ext.verbs.level_step import name_levels
from spinefuse_ext.verbs.outputs import FUSED, SEGMENTED, replaced, tell_outdated
from spinefuse_ext.verbs.paths import absolute, existing, find_bundle, listed, weights_path
from spinefuse_ext.verbs.results import FUSED_FILE, PREDICTION_FILE, tell_fused, tell_segmented

#: Files of a case beside its images: the option, which is their name in an item too, and what a sentence calls it.
_FILES = {
    "dicom": "The DICOM series",
    "ct_landmarks": "Landmark file",
    "mr_landmarks": "Landmark file",
    "transform": "Transform file",
    "vertebrae": "The vertebra label volume",
}
#: Settings by which a network sees something else than the shipped one.
_OF_A_NETWORK = ("image_keys", "in_channels", "network_def")


@dataclass(frozen=True)
class CaseResult:
    """The folder that a verb wrote to, the names of the classes of its labels, and whether it holds a fused image."""

    folder: Path
    labels: tuple[str, ...] = ()
    fused: bool = True


def fuse(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    ct: str,
    mr: str,
    out: str,
    *,
    checkpoint: str | None = None,
    ct_series: str | None = None,
    mr_series: str | None = None,
    ct_landmarks: str | None = None,
    mr_landmarks: str | None = None,
    transform: str | None = None,
    vertebrae: str | None = None,
    dicom: str | None = None,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> CaseResult:
    """Fuse one CT and MR into ``OUT/fused.nii.gz``: ``spinefuse fuse --ct C --mr M --out OUT``.

    The pair is registered already; or landmarks of both images, or a transform file, say how the MR comes onto the CT,
    as for ``spinefuse register``. A CT that is a DICOM folder also gives ``OUT/fused_dicom``, a DICOM series.

    Args:
        ct: CT as image file or DICOM folder; the fused volume lies on its grid.
        mr: MR as image file or DICOM folder.
        out: folder to write to; results of an earlier run in it are replaced.
        checkpoint: weights of the same network; ``models/model.pt`` of the bundle by default.
        ct_series: SeriesInstanceUID, number or description of the CT series, where the folder holds several.
        mr_series: the same of the MR series.
        ct_landmarks: points on the CT, by which the MR is registered first; ``--registration_model`` names the model.
        mr_landmarks: points of the same names on the MR.
        transform: transform file from CT to MR points, in place of landmarks.
        vertebrae: label volume with a number per vertebra, for ``--registration_model per_vertebra``.
        dicom: DICOM series on whose grid a CT lies that is none itself.
        delta: config files that the checkpoint was trained with on top of ``train.json``, such as ``u2fusion.json``.
        bundle: folder of the bundle.
        overrides: settings by config id, such as ``--canvas "[128,128]"``.
    """
    files = {
        **{"dicom": dicom, "ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks},
        **{"transform": transform, "vertebrae": vertebrae},
    }
    series = {"ct": ct_series, "mr": mr_series}
    item = _pair_item({"ct": ct, "mr": mr}, series, files)
    run = _fusion(item, out, find_bundle("fusion", bundle), checkpoint, overrides, listed(delta))
    folder = run.settings["output_dir"]
    with replaced(folder, FUSED, _paths(ct, mr, *files.values())), stage("Fusing"):
        run.start()
    tell_fused(folder)
    tell_outdated(folder, SEGMENTED, "fused volume")
    return CaseResult(Path(folder))


def segment(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    image: str | None = None,
    out: str | None = None,
    *,
    checkpoint: str | None = None,
    dicom: str | None = None,
    series: str | None = None,
    ct: str | None = None,
    mr: str | None = None,
    fusion_checkpoint: str | None = None,
    ct_series: str | None = None,
    mr_series: str | None = None,
    ct_landmarks: str | None = None,
    mr_landmarks: str | None = None,
    transform: str | None = None,
    fused: bool = False,
    levels: bool = False,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> CaseResult:
    """Segment one volume into ``OUT/prediction.nii.gz``: ``spinefuse segment --image F --out OUT``.

    Of a pair, ``--ct C --mr M`` in place of ``--image``, the shipped network sees both images one by one, and its
    answers are averaged (``each_image.json``). Weights of one's own have learnt fused images, so for them, and with
    ``--fused``, the pair is fused first, as ``spinefuse fuse`` does. A network that was trained with ``pair.json``
    takes ``--ct``, ``--mr``, or both. With a DICOM series, ``OUT/prediction.dcm`` is a DICOM SEG that refers to it.

    Args:
        image: fused volume, or another modality with ``--image_keys``; a file or a DICOM folder.
        out: folder to write to; results of an earlier run in it are replaced.
        checkpoint: weights of the same network; ``models/model.pt`` of the bundle by default.
        dicom: DICOM series on whose grid the image lies, for a fused volume that of the CT. Not needed for an image or
            a CT that is a DICOM folder itself.
        series: SeriesInstanceUID, number or description of the series of an image, where the folder holds several.
        ct: CT of a pair, in place of ``--image``.
        mr: MR of a pair.
        fusion_checkpoint: weights that fuse the pair; those of the fusion bundle by default.
        ct_series: as ``--series``, for the CT of a pair.
        mr_series: as ``--series``, for the MR of a pair.
        ct_landmarks: points on the CT of a pair, by which the MR is registered first.
        mr_landmarks: points of the same names on the MR.
        transform: transform file from CT to MR points, in place of landmarks.
        fused: let the network see the fused image of a pair, and write that too.
        levels: also number and name every vertebra and disc, as ``spinefuse levels`` does.
        delta: config files that the checkpoint was trained with on top of ``train.json``.
        bundle: folder of the bundle.
        overrides: settings of the segmentation by config id, such as ``--save_subnetworks True``.
    """
    changed = [name for name in overrides if name.partition("#")[0] in _OF_A_NETWORK]
    own = [checkpoint, fusion_checkpoint, bundle, *listed(delta), *changed]
    each = image is None and not fused and ct is not None and mr is not None and not any(own)
    folder = find_bundle("semiseg", bundle)
    configs = ["inference.json", *listed(delta), *(["each_image.json"] if each else [])]
    asked = BundleRun(folder, configs, {}, overrides)
    asked.check()  # an option that does not exist is told before one that is missing
    if out is None:
        raise ConfigError("`spinefuse segment` needs --out, the folder to write to.")
    files = {"ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks, "transform": transform}
    chosen, weights = {"ct": ct_series, "mr": mr_series}, weights_path(checkpoint, folder)
    source = {} if dicom is None else {str(CaseKeys.DICOM): existing(dicom, "The DICOM series")}
    runs: list[BundleRun] = []
    if image is None:
        pair = {name: path for name, path in (("ct", ct), ("mr", mr)) if path is not None}
        _check_pair(pair, series, either=asked.takes_either)
        item = _pair_item(pair, chosen, files)
        source = source or (_series_of(str(ct), ct_series) if ct is not None else {})
        if set(asked.image_keys) != {"ct", "mr"}:  # the network sees a fused image
            runs.append(_fusion(item, out, find_bundle("fusion"), fusion_checkpoint))
            item = {_only(asked.image_keys): absolute(out, FUSED_FILE)}
        elif fusion_checkpoint is not None:
            raise ConfigError(
                "Here the network sees CT and MR themselves, nothing is fused; leave --fusion_checkpoint out."
            )
        elif fused:
            raise ConfigError("Here the network sees CT and MR themselves, nothing is fused; leave --fused out.")
    else:
        key = _only(asked.image_keys)
        series = series or chosen.pop(key, None)  # --ct_series where the image has the key ct
        others = {f"{name}_series": given for name, given in chosen.items()}
        _check_alone(
            {
                "ct": ct,
                "mr": mr,
                "fused": "True" if fused else None,
                "fusion_checkpoint": fusion_checkpoint,
                **files,
                **others,
            }
        )
        image = existing(image, "The image")
        item = {key: image} | ({} if series is None else {series_key(key): str(series)})
    settings = _single_case(item | source, out, weights, PREDICTION_FILE)
    last = BundleRun(folder, configs, settings, overrides)
    result = _run_chain([*runs, last], _paths(image, dicom, ct, mr, *files.values()))
    if levels:
        name_levels(last.settings["output_dir"], last.labels)
    return result


def _run_chain(runs: Sequence[BundleRun], inputs: Sequence[str]) -> CaseResult:
    """Run the segmentation, behind the fusion if there is one; all are checked before the first one takes its time."""
    for run in runs:
        run.check()
    folder, fused = runs[-1].settings["output_dir"], len(runs) > 1
    with replaced(folder, (*SEGMENTED, *(FUSED if fused else ())), inputs):
        for run in runs:
            with stage("Segmenting" if run is runs[-1] else "Fusing"):
                run.start()
    if fused:
        tell_fused(folder)
    tell_segmented(folder, runs[-1].labels)
    return CaseResult(Path(folder), tuple(runs[-1].labels), fused)


def _pair_item(
    pair: Mapping[str, str], series: Mapping[str, str | None], files: Mapping[str, str | None]
) -> dict[Any, str]:
    """The item of a pair: its images, the series chosen of their folders, and further files by their options."""
    item: dict[Any, str] = {name: existing(path, f"The {name.upper()}") for name, path in pair.items()}
    for name, path in files.items():
        if path is not None:
            item[name] = existing(path, _FILES[name])
    return item | {series_key(key): str(name) for key, name in series.items() if name is not None}


def _fusion(
    item: Mapping[Any, str],
    out: str,
    bundle: Path,
    checkpoint: str | None,
    typed: Mapping[str, Any] | None = None,
    delta: Sequence[str] = (),
) -> BundleRun:
    """The run that fuses the pair of an item."""
    settings = _single_case(item, out, weights_path(checkpoint, bundle), FUSED_FILE)
    return BundleRun(bundle, ["inference.json", *delta], settings, typed or {})


def _paths(*given: str | None) -> list[str]:
    return [str(path) for path in given if path is not None]


def _series_of(ct: str, name: str | None) -> dict[str, str]:
    """What an item says of the DICOM series that a CT is; nothing of a CT that is no DICOM."""
    if not is_dicom(ct):
        return {}
    chosen = {} if name is None else {series_key(CaseKeys.DICOM): str(name)}
    return {str(CaseKeys.DICOM): absolute(ct), **chosen}


def _only(keys: Sequence[str]) -> str:
    """The key of the one image that is segmented."""
    if len(keys) != 1:
        raise ConfigError(
            f"`spinefuse segment` takes one image, but image_keys names {list(keys)}; give --ct and --mr if it "
            "is these two, or run the bundle itself."
        )
    return keys[0]


def _check_pair(pair: Mapping[str, str], series: str | None, *, either: bool) -> None:
    """Raise ConfigError unless all that the network needs of a pair is given, and nothing that belongs to an image."""
    missing = [f"--{name}" for name in ("ct", "mr") if name not in pair]
    if not pair:
        raise ConfigError("`spinefuse segment` needs --image, or a pair by --ct and --mr.")
    if series is not None:
        raise ConfigError("`spinefuse segment` takes --series with --image; of a pair name --ct_series or --mr_series.")
    if missing and not either:
        raise ConfigError(f"`spinefuse segment` of a pair needs {' and '.join(missing)} too.")


def _check_alone(pair: Mapping[str, str | None]) -> None:
    """Raise ConfigError when something that belongs to fusing is given beside an image that is fused already."""
    given = [name for name, value in pair.items() if value is not None]
    if given:
        raise ConfigError(f"`spinefuse segment` takes --image or a pair, got --image and --{given[0]}; leave one out.")


def _single_case(item: Mapping[Any, str], out: str, checkpoint: str, name: str) -> dict[str, Any]:
    """The settings of an inference on the files of one case, by their keys; ``name`` is what it writes."""
    folder = check_output_folder(absolute(out))
    check_apart(check_output_file(folder / name), item.values())
    return {
        "dataset_dir": str(Path(next(iter(item.values()))).parent),
        "output_dir": str(folder),
        "checkpoint": checkpoint,
        "dataset#data": [{str(key): path for key, path in item.items()}],
    }
