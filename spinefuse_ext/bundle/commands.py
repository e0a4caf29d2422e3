"""Assemble and run bundle commands, and print them, so that a user of ``spinefuse`` learns the config way."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from spinefuse_ext.dicom.kind import is_dicom
from spinefuse_ext.enums import CaseKeys, RegistrationKeys, series_key
from spinefuse_ext.validation import ConfigError, check_exists, check_writable

BUNDLES = {"fusion": "spine_fusion", "semiseg": "spine_semiseg"}


def find_bundle(task: str, bundle: str | Path | None = None) -> Path:
    """Return the folder of the bundle for ``task`` (``fusion`` or ``semiseg``), or ``bundle`` when given.

    Raises:
        ConfigError: unknown task, or no bundle in ``./bundles`` nor beside the package.
        MissingPathError: ``bundle`` does not exist.
    """
    if bundle is not None:
        return check_exists(bundle, "The bundle").absolute()
    if task not in BUNDLES:
        raise ConfigError(f"Unknown task {task}; choose one of {', '.join(BUNDLES)}.")
    places = [Path.cwd() / "bundles", Path(__file__).absolute().parents[2] / "bundles"]
    found = next((place / BUNDLES[task] for place in places if (place / BUNDLES[task]).is_dir()), None)
    if found is None:
        raise ConfigError(f"The bundle {BUNDLES[task]} is not in {' nor '.join(map(str, places))}; give --bundle PATH.")
    return found


def bundle_command(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> list[str]:
    """Return the ``python -m monai.bundle run`` command for configs of ``bundle`` with overrides by config id."""
    files = config_files(bundle, configs)
    values = {"bundle_root": str(bundle), **overrides}
    check_places(files, values)
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        files[0] if len(files) == 1 else str(files),
    ]
    for name, value in values.items():
        command += [f"--{name}", value if isinstance(value, str) else _spelled(value)]
    return command


def config_files(bundle: Path, configs: Sequence[str]) -> list[str]:
    """Return the paths of configs of ``bundle``, or of files of one's own.

    Raises:
        MissingPathError: one that is neither.
    """
    files = [str(path if Path(path).is_file() else bundle / "configs" / path) for path in configs]
    for path in files:
        check_exists(path, "The config file")
    return files


def _spelled(value: Any) -> str:
    """A value as JSON where the command line reads it back as what it is, else as Python writes it (True, None)."""
    text = json.dumps(value)
    return text if DefaultParseValue(text) == value else repr(value)


def run_bundle(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> str:
    """Print the bundle command, run it, and return it as one line for a shell.

    Raises:
        SystemExit: with the status of the command, when it fails; it has said why.
    """
    command = bundle_command(bundle, configs, overrides)
    line = shlex.join(["python", *command[1:]])
    sys.stdout.write(f"$ {line}\n")
    sys.stdout.flush()
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(status)
    return line


def check_places(files: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for an override below an entry that no file has; MONAI would fail with a bare KeyError."""
    parser = ConfigParser()
    parser.read_config(list(files))
    for name, value in values.items():
        parent = name.rpartition("#")[0]
        if parent and parent not in parser:
            raise ConfigError(f"No config defines {parent}, so the setting {name} has no place. Check the spelling.")
        parser[name] = deepcopy(value)  # what a later override may go into


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
    paths = {"dataset_dir": _absolute(dataset_dir), "ckpt_dir": _absolute(out, "models")}
    paths["output_dir"] = str(check_writable(_absolute(out)) / "eval")
    run_bundle(find_bundle(task, bundle), ["train.json", *_listed(delta)], {**paths, **overrides})


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
    paths["output_dir"] = str(check_writable(_absolute(out)))
    run_bundle(find_bundle(task, bundle), ["train.json", *_listed(delta), "evaluate.json"], {**paths, **overrides})


def fuse(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    ct: str,
    mr: str,
    out: str,
    *,
    checkpoint: str | None = None,
    ct_series: str | int | None = None,
    mr_series: str | int | None = None,
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
    item: dict[Any, str] = {CaseKeys.CT: _existing(ct, "The CT"), CaseKeys.MR: _existing(mr, "The MR")}
    files: dict[Any, tuple[str | None, str]] = {
        CaseKeys.DICOM: (dicom, "The DICOM series"),
        RegistrationKeys.LANDMARKS_CT: (ct_landmarks, "Landmark file"),
        RegistrationKeys.LANDMARKS_MR: (mr_landmarks, "Landmark file"),
        RegistrationKeys.TRANSFORM: (transform, "Transform file"),
        RegistrationKeys.VERTEBRAE: (vertebrae, "The vertebra label volume"),
    }
    item |= {key: _existing(path, what) for key, (path, what) in files.items() if path is not None}
    series = {CaseKeys.CT: ct_series, CaseKeys.MR: mr_series}
    item |= {series_key(key): str(name) for key, name in series.items() if name is not None}
    folder = find_bundle("fusion", bundle)
    given = {**_single_case(item, out, _weights(checkpoint, folder)), **overrides}
    run_bundle(folder, ["inference.json"], given)


def segment(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    image: str | None = None,
    out: str | None = None,
    *,
    checkpoint: str | None = None,
    dicom: str | None = None,
    ct: str | None = None,
    mr: str | None = None,
    fusion_checkpoint: str | None = None,
    ct_series: str | int | None = None,
    mr_series: str | int | None = None,
    ct_landmarks: str | None = None,
    mr_landmarks: str | None = None,
    transform: str | None = None,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Segment one fused volume into ``OUT/prediction.nii.gz``: ``spinefuse segment --image F --out OUT``.

    ``--ct C --mr M`` in place of ``--image`` fuses the pair first, as ``spinefuse fuse`` does. Without ``--checkpoint``
    and ``--fusion_checkpoint`` by the weights that the bundles hold, ``models/model.pt``.
    ``--dicom`` names the DICOM series on whose grid the image lies, for a fused volume that of the CT; then
    ``OUT/prediction.dcm`` is a DICOM SEG of it. An image or a CT that is a DICOM folder itself needs no such option.
    ``--delta`` names the config files that the checkpoint was trained with on top of ``train.json``.
    """
    if out is None:
        raise ConfigError("`spinefuse segment` needs --out, the folder to write to.")
    keys = overrides.get("image_keys", [str(CaseKeys.FUSED)])
    if len(keys) != 1:
        raise ConfigError(f"`spinefuse segment` takes one image, but image_keys names {keys}; run the bundle itself.")
    pair = {"ct": ct, "mr": mr}
    files: dict[str, Any] = {"ct_landmarks": ct_landmarks, "mr_landmarks": mr_landmarks, "transform": transform}
    files |= {"ct_series": ct_series, "mr_series": mr_series}
    alone = {**pair, "fusion_checkpoint": fusion_checkpoint, **files}
    series = {} if dicom is None else {str(CaseKeys.DICOM): _existing(dicom, "The DICOM series")}
    folder = find_bundle("semiseg", bundle)
    weights = _weights(checkpoint, folder)
    if image is None:
        _check_pair(pair)
        fuse(str(ct), str(mr), out, checkpoint=fusion_checkpoint, **files)
        image = _absolute(out, "fused.nii.gz")
        series = series or _series_of(str(ct), ct_series)
    elif given := [name for name, value in alone.items() if value is not None]:
        raise ConfigError(f"`spinefuse segment` takes --image or a pair, got --image and --{given[0]}; leave one out.")
    else:
        image = _existing(image, "The image")
    item = {str(keys[0]): image} | series
    run_bundle(folder, ["inference.json", *_listed(delta)], {**_single_case(item, out, weights), **overrides})


def _series_of(ct: str, name: str | int | None) -> dict[str, str]:
    """What an item says of the DICOM series that a CT is; nothing of a CT that is no DICOM."""
    if not is_dicom(ct):
        return {}
    chosen = {} if name is None else {series_key(CaseKeys.DICOM): str(name)}
    return {str(CaseKeys.DICOM): _absolute(ct), **chosen}


def _check_pair(pair: Mapping[str, str | None]) -> None:
    """Raise ConfigError unless all that fusing on the way needs is given."""
    missing = [f"--{name}" for name, value in pair.items() if value is None]
    if len(missing) == len(pair):
        raise ConfigError("`spinefuse segment` needs --image, or a pair by --ct and --mr.")
    if missing:
        raise ConfigError(f"`spinefuse segment` of a pair needs {' and '.join(missing)} too.")


def _single_case(item: Mapping[Any, str], out: str, checkpoint: str) -> dict[str, Any]:
    """The settings of an inference on the files of one case, by their keys."""
    return {
        "dataset_dir": str(Path(next(iter(item.values()))).parent),
        "output_dir": str(check_writable(_absolute(out))),
        "checkpoint": checkpoint,
        "dataset#data": [{str(key): path for key, path in item.items()}],
    }


def _weights(checkpoint: str | None, bundle: Path) -> str:
    """The path of ``checkpoint``, or of the weights that the bundle holds; either must be there."""
    if checkpoint is not None:
        return _existing(checkpoint, "The checkpoint")
    return _existing(str(bundle / "models" / "model.pt"), "No --checkpoint was given, and the bundle's own file")


def _listed(delta: str | Sequence[str]) -> list[str]:
    return [delta] if isinstance(delta, str) else list(delta)


def _absolute(*parts: str) -> str:
    return str(Path(*map(str, parts)).absolute())


def _existing(path: str, what: str) -> str:
    return str(check_exists(path, what).absolute())
