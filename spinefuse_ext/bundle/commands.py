"""The verbs that run a bundle; each prints its command, so that a user of ``spinefuse`` learns the config way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from spinefuse_ext.bundle.outputs import FUSED, SCORED, SEGMENTED, replaced, tell_outdated
from spinefuse_ext.bundle.run import BundleRun, bundle_command, check_places, config_files, run_bundle
from spinefuse_ext.dicom.kind import is_dicom
from spinefuse_ext.enums import CaseKeys, RegistrationKeys, series_key
from spinefuse_ext.files import check_apart, check_output_file, check_output_folder
from spinefuse_ext.validation import ConfigError, check_exists

__all__ = [
    "BUNDLES",
    "bundle_command",
    "check_places",
    "config_files",
    "evaluate",
    "find_bundle",
    "fuse",
    "installed_bundles",
    "run_bundle",
    "segment",
    "train",
]

#: What a fusion and a segmentation write into their folder.
FUSED_FILE, PREDICTION_FILE = "fused.nii.gz", "prediction.nii.gz"
#: Files of a case beside its images: the option, the key in the configs, and what a sentence calls it.
_FILES = {
    "dicom": (CaseKeys.DICOM, "The DICOM series"),
    "ct_landmarks": (RegistrationKeys.LANDMARKS_CT, "Landmark file"),
    "mr_landmarks": (RegistrationKeys.LANDMARKS_MR, "Landmark file"),
    "transform": (RegistrationKeys.TRANSFORM, "Transform file"),
    "vertebrae": (RegistrationKeys.VERTEBRAE, "The vertebra label volume"),
}
_INSTALLED = "share/spinefuse/bundles"  # as setup.cfg has it
BUNDLES = {"fusion": "spine_fusion", "semiseg": "spine_semiseg"}


def find_bundle(task: str, bundle: str | Path | None = None) -> Path:
    """Return the folder of the bundle for ``task`` (``fusion`` or ``semiseg``), or ``bundle`` when given.

    Raises:
        ConfigError: unknown task, or no bundle in ``./bundles``, beside the package, or in what pip installed.
        MissingPathError: ``bundle`` does not exist.
    """
    if bundle is not None:
        return check_exists(bundle, "The bundle").absolute()
    if task not in BUNDLES:
        raise ConfigError(f"Unknown task {task}; choose one of {', '.join(BUNDLES)}.")
    places = [Path.cwd() / "bundles", Path(__file__).absolute().parents[2] / "bundles", *installed_bundles()]
    found = next((place / BUNDLES[task] for place in places if (place / BUNDLES[task]).is_dir()), None)
    if found is None:
        raise ConfigError(f"The bundle {BUNDLES[task]} is not in {' nor '.join(map(str, places))}; give --bundle PATH.")
    return found


def installed_bundles() -> list[Path]:
    """The folder of bundles that pip installed with the package, if it did (an editable install has none)."""
    places = [Path(__file__).absolute().parents[2] / _INSTALLED]  # of `pip install --target`, whose record is wrong
    with suppress(PackageNotFoundError):
        files = distribution("spinefuse").files or ()
        metadata = (file for file in files if file.match(f"{_INSTALLED}/*/configs/metadata.json"))
        places += [Path(str(file.locate())).resolve().parents[2] for file in metadata]
    return list(dict.fromkeys(place for place in places if place.is_dir()))


def train(
    task: str,
    dataset_dir: str,
    out: str,
    *,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Train a network: ``spinefuse train fusion|semiseg --dataset_dir DIR --out RUN``.

    Weights go to ``RUN/models``, curves to ``RUN/eval``. ``--delta`` names further config files; any other option is
    an override by config id, for example ``--epochs 2 --canvas "[128,128]"``.
    """
    check_output_folder(_absolute(out))
    places = {name: str(check_output_folder(_absolute(out, name))) for name in ("models", "eval")}
    paths = {"dataset_dir": _absolute(dataset_dir), "ckpt_dir": places["models"], "output_dir": places["eval"]}
    BundleRun(find_bundle(task, bundle), ["train.json", *listed(delta)], paths, overrides).start()


def evaluate(
    task: str,
    dataset_dir: str,
    out: str,
    checkpoint: str,
    *,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Score a checkpoint on the validation cases: ``spinefuse evaluate fusion|semiseg ...``; tables go to ``OUT``.

    ``--delta`` names the config files that it was trained with on top of ``train.json``.
    """
    paths = {"dataset_dir": _absolute(dataset_dir), "checkpoint": _existing(checkpoint, "The checkpoint")}
    paths["output_dir"] = str(check_output_folder(_absolute(out)))
    run = BundleRun(find_bundle(task, bundle), ["train.json", *listed(delta), "evaluate.json"], paths, overrides)
    with replaced(run.settings["output_dir"], SCORED):
        run.start()


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
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Fuse one CT and MR into ``OUT/fused.nii.gz``: ``spinefuse fuse --ct C --mr M --out OUT``.

    Without ``--checkpoint`` by the weights that the bundle holds, ``models/model.pt``.
    The pair is registered already; or landmarks of both images, or a transform file, say how the MR comes onto the CT,
    with ``--registration_model`` and ``--vertebrae`` as for ``spinefuse register``. ``--ct_series`` and ``--mr_series``
    choose one of several series of a DICOM folder, as there. A CT that is a DICOM folder also
    gives ``OUT/fused_dicom``, a DICOM series; for another CT, ``--dicom`` names the series on whose grid it lies.
    """
    files = {
        **{"dicom": dicom, "ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks},
        **{"transform": transform, "vertebrae": vertebrae},
    }
    series = {"ct": ct_series, "mr": mr_series}
    item = _pair_item({"ct": ct, "mr": mr}, series, files)
    run = _fusion(item, out, find_bundle("fusion", bundle), checkpoint, overrides)
    folder = run.settings["output_dir"]
    with replaced(folder, FUSED, _paths(ct, mr, *files.values())):
        run.start()
    tell_outdated(folder, SEGMENTED, "fused volume")


def _pair_item(
    pair: Mapping[str, str], series: Mapping[str, str | None], files: Mapping[str, str | None]
) -> dict[Any, str]:
    """The item of a pair: its images, the series chosen of their folders, and further files by their options."""
    item: dict[Any, str] = {name: _existing(path, f"The {name.upper()}") for name, path in pair.items()}
    for name, path in files.items():
        if path is not None:
            item[_FILES[name][0]] = _existing(path, _FILES[name][1])
    return item | {series_key(key): str(name) for key, name in series.items() if name is not None}


def _fusion(
    item: Mapping[Any, str], out: str, bundle: Path, checkpoint: str | None, typed: Mapping[str, Any] | None = None
) -> BundleRun:
    """The run that fuses the pair of an item."""
    settings = _single_case(item, out, _weights(checkpoint, bundle), FUSED_FILE)
    return BundleRun(bundle, ["inference.json"], settings, typed or {})


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
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Segment one fused volume into ``OUT/prediction.nii.gz``: ``spinefuse segment --image F --out OUT``.

    ``--ct C --mr M`` in place of ``--image`` fuses the pair first, as ``spinefuse fuse`` does; with
    ``--delta each_image.json`` the network sees both as they are, one by one, and its answers are averaged. Without
    ``--checkpoint`` and ``--fusion_checkpoint`` by the weights that the bundles hold, ``models/model.pt``.
    ``--dicom`` names the DICOM series on whose grid the image lies, for a fused volume that of the CT; then
    ``OUT/prediction.dcm`` is a DICOM SEG of it. An image or a CT that is a DICOM folder itself needs no such option;
    ``--series`` chooses one of several series of an image, ``--ct_series`` and ``--mr_series`` those of a pair.
    ``--delta`` names the config files that the checkpoint was trained with on top of ``train.json``.
    """
    if out is None:
        raise ConfigError("`spinefuse segment` needs --out, the folder to write to.")
    pair = {"ct": ct, "mr": mr}
    files = {"ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks, "transform": transform}
    chosen = {"ct": ct_series, "mr": mr_series}
    source = {} if dicom is None else {str(CaseKeys.DICOM): _existing(dicom, "The DICOM series")}
    folder, configs = find_bundle("semiseg", bundle), ["inference.json", *listed(delta)]
    weights, keys = _weights(checkpoint, folder), BundleRun(folder, configs, {}, overrides).image_keys
    runs: list[BundleRun] = []
    if image is None:
        _check_pair(pair, series)
        item = _pair_item({name: str(path) for name, path in pair.items()}, chosen, files)
        source = source or _series_of(str(ct), ct_series)
        if set(keys) != set(pair):  # the network sees a fused image
            runs.append(_fusion(item, out, find_bundle("fusion"), fusion_checkpoint))
            item = {_only(keys): _absolute(out, FUSED_FILE)}
        elif fusion_checkpoint is not None:
            raise ConfigError(
                "Here the network sees CT and MR themselves, nothing is fused; leave --fusion_checkpoint out."
            )
    else:
        key = _only(keys)
        series = series or chosen.pop(key, None)  # --ct_series where the image has the key ct
        others = {f"{name}_series": given for name, given in chosen.items()}
        _check_alone({**pair, "fusion_checkpoint": fusion_checkpoint, **files, **others})
        image = _existing(image, "The image")
        item = {key: image} | ({} if series is None else {series_key(key): str(series)})
    item |= source
    fused = bool(runs)
    runs.append(BundleRun(folder, configs, _single_case(item, out, weights, PREDICTION_FILE), overrides))
    for run in runs:  # all are checked before the first one takes its time
        run.check()
    inputs = _paths(image, dicom, ct, mr, *files.values())
    with replaced(runs[-1].settings["output_dir"], (*SEGMENTED, *(FUSED if fused else ())), inputs):
        for run in runs:
            run.start()


def _paths(*given: str | None) -> list[str]:
    return [str(path) for path in given if path is not None]


def _series_of(ct: str, name: str | None) -> dict[str, str]:
    """What an item says of the DICOM series that a CT is; nothing of a CT that is no DICOM."""
    if not is_dicom(ct):
        return {}
    chosen = {} if name is None else {series_key(CaseKeys.DICOM): str(name)}
    return {str(CaseKeys.DICOM): _absolute(ct), **chosen}


def _only(keys: Sequence[str]) -> str:
    """The key of the one image that is segmented."""
    if len(keys) != 1:
        raise ConfigError(
            f"`spinefuse segment` takes one image, but image_keys names {list(keys)}; give --ct and --mr if it "
            "is these two, or run the bundle itself."
        )
    return keys[0]


def _check_pair(pair: Mapping[str, str | None], series: str | None) -> None:
    """Raise ConfigError unless all that fusing on the way needs is given, and nothing that belongs to an image."""
    missing = [f"--{name}" for name, value in pair.items() if value is None]
    if len(missing) == len(pair):
        raise ConfigError("`spinefuse segment` needs --image, or a pair by --ct and --mr.")
    if series is not None:
        raise ConfigError("`spinefuse segment` takes --series with --image; of a pair name --ct_series or --mr_series.")
    if missing:
        raise ConfigError(f"`spinefuse segment` of a pair needs {' and '.join(missing)} too.")


def _check_alone(pair: Mapping[str, str | None]) -> None:
    """Raise ConfigError when something that belongs to fusing is given beside an image that is fused already."""
    given = [name for name, value in pair.items() if value is not None]
    if given:
        raise ConfigError(f"`spinefuse segment` takes --image or a pair, got --image and --{given[0]}; leave one out.")


def _single_case(item: Mapping[Any, str], out: str, checkpoint: str, name: str) -> dict[str, Any]:
    """The settings of an inference on the files of one case, by their keys; ``name`` is what it writes."""
    folder = check_output_folder(_absolute(out))
    check_apart(check_output_file(folder / name), item.values())
    return {
        "dataset_dir": str(Path(next(iter(item.values()))).parent),
        "output_dir": str(folder),
        "checkpoint": checkpoint,
        "dataset#data": [{str(key): path for key, path in item.items()}],
    }


def _weights(checkpoint: str | None, bundle: Path) -> str:
    """The path of ``checkpoint``, or of the weights that the bundle holds; either must be there."""
    if checkpoint is not None:
        return _existing(checkpoint, "The checkpoint")
    return _existing(str(bundle / "models" / "model.pt"), "No --checkpoint was given, and the bundle's own file")


def listed(delta: str | Sequence[str]) -> list[str]:
    """One name or several as a list."""
    return [delta] if isinstance(delta, str) else list(delta)


def _absolute(*parts: str) -> str:
    return str(Path(*map(str, parts)).absolute())


def _existing(path: str, what: str) -> str:
    return str(check_exists(path, what).absolute())
