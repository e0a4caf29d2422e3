"""What a client may ask of the server: every value is typed and checked against its choices before anything uses it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch

from spinefuse_ext.data.item_keys import REGISTRATION_NAMES, by_key
from spinefuse_ext.enums import CaseKeys, RegistrationKeys
from spinefuse_ext.formats import RESULT_SUFFIXES
from spinefuse_ext.literal import check_literal
from spinefuse_ext.registration.models import Model
from spinefuse_ext.validation import ConfigError, check_choice, check_plain_name

#: Names and paths of images and files, which no config is given; they may be called anything.
_IMAGES = (CaseKeys.IMAGE, CaseKeys.CT, CaseKeys.MR, CaseKeys.FUSED)
NAMES = {str(name) for name in (*_IMAGES, *RegistrationKeys, *REGISTRATION_NAMES)}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TRACKING = ("mlflow", "None", "")
_LONGEST = 255
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")
_GPUS = re.compile(r"all|\d{1,3}(,\d{1,3})*")
_TITLE = re.compile(r"[\w .:-]{0,100}")

Check = Callable[[str, Any], Any]


def checked(request: Mapping[str, Any], tracking_uri: str = "") -> dict[str, Any]:
    """Return ``request`` with every value of the type that its name asks for.

    Of a list of options, which a client may send back as it got it, the first counts. Names that are not known here
    are handed on; no config is given their values, and they may not look as if one could evaluate them. The files of a
    registration come back under their keys.

    Args:
        request: of an inference, a batch, a training, a scoring or a strategy.
        tracking_uri: the only one that a request may name, that of the server.

    Raises:
        ConfigError: a value of another type or none of the choices; the sentence names it.
        DatalistError: a file of the registration that is named twice.
    """
    values = {name: value for name, value in request.items() if name not in NAMES}
    check_literal(values, "The request")
    made = {**request, **{name: check(name, request[name]) for name, check in _CHECKS.items() if name in request}}
    for name in NAMES & request.keys():
        made[name] = _file(name, request[name])
    if request.get("tracking_uri") not in (None, "", tracking_uri):
        raise ConfigError("The setting tracking_uri is that of the server (MONAI_LABEL_TRACKING_URI); leave it out.")
    if request.get("run_id") not in (None, "", "run"):
        raise ConfigError(f"The setting run_id cannot be {request['run_id']!r}; it is run.")
    made.pop("run_id", None)
    return by_key(made, "The request")


def refuse_places(request: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for what a server tells its own processes, and a client may not: where code lies."""
    if "bundle_path" in request:
        raise ConfigError("The setting bundle_path is the server's own; leave it out of the request.")


def device_name(name: str, value: Any) -> str | None:
    """A device, or the name of a GPU as the server lists it, of a text or the first of a list; None for no choice."""
    device = _text(name, value)
    if device and not _DEVICE.fullmatch(device) and device not in _gpu_names():
        raise ConfigError(f"The setting {name} cannot be {device!r}; it is cpu, mps, cuda or cuda:N.")
    return device or None


def _gpu_names() -> set[str]:
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {*names, *(f"{name}:{number}" for number, name in enumerate(names))}


def registration_settings(request: Mapping[str, Any]) -> dict[str, Any]:
    """How a request wants the MR registered, by config id: rigid and not refined where it does not say."""
    model, refine = (request.get(name) for name in ("registration_model", "registration_refine"))
    return {
        "registration_model": _model("registration_model", model) or str(Model.RIGID),
        "registration_refine": _truth("registration_refine", refine),
    }


def _first(value: Any) -> Any:
    value = (value[0] if value else None) if isinstance(value, list) else value
    return value.value if isinstance(value, Enum) else value


def _text(name: str, value: Any) -> str:
    value = _first(value)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"The setting {name} is a text, got {value!r}.")
    return value or ""


def _model(name: str, value: Any) -> str | None:
    text = _text(name, value)
    return str(check_choice(name, text, Model)) if text else None


def _truth(name: str, value: Any) -> bool:
    value = _first(value)
    if value is None or isinstance(value, bool):
        return bool(value)
    known = _TRUTHS.get(str(value).strip().lower())
    if known is None:
        raise ConfigError(f"The setting {name} is true or false, got {value!r}.")
    return known


def _number(name: str, value: Any) -> float:
    try:
        number = float(_first(value)) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if not abs(number) < 1e6:
        raise ConfigError(f"The setting {name} is a number, got {value!r}.")
    return number


def _whole(lowest: int) -> Check:
    def check(name: str, value: Any) -> int:
        number = _number(name, value)
        if number != int(number) or number < lowest:
            raise ConfigError(f"The setting {name} is a whole number from {lowest}, got {value!r}.")
        return int(number)

    return check


def _split(name: str, value: Any) -> float:
    number = _number(name, value)
    if not -1 <= number < 1:
        raise ConfigError(f"The setting {name} is a part of the cases, below 1, got {value!r}.")
    return number


def _one_of(choices: tuple[str, ...]) -> Check:
    def check(name: str, value: Any) -> str | None:
        text = _text(name, value)
        spelled = next((choice for choice in choices if choice.lower() == text.lower()), text)
        return str(check_choice(name, spelled, choices)) if text else None

    return check


def _matching(pattern: re.Pattern[str], sentence: str) -> Check:
    def check(name: str, value: Any) -> str:
        text = _text(name, value)
        if text and not pattern.fullmatch(text):
            raise ConfigError(f"The setting {name} cannot be {text!r}; it is {sentence}.")
        return text

    return check


def _dtype(name: str, value: Any) -> str | None:
    text = _text(name, value)
    if text and (text not in np.sctypeDict or np.dtype(text).kind not in "biuf"):
        raise ConfigError(f"The setting {name} cannot be {text!r}; it is a type of numbers, such as uint8.")
    return text or None


def _plain(name: str, value: Any) -> str:
    text = _text(name, value)
    return check_plain_name(text, f"The setting {name}") if text else text


def _file(name: str, value: Any) -> Any:
    """The name of an image or a file, whatever it is called."""
    if value is not None and (not isinstance(value, str) or "\x00" in value):
        raise ConfigError(f"The request must name the {name} by a text, got {value!r}.")
    if value and max(len(os.fsencode(part)) for part in value.split("/")) > _LONGEST:
        raise ConfigError(f"The request names the {name} by more than {_LONGEST} bytes, which no file can be called.")
    return value


def _images(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return str(check_choice(name, _text(name, value), ("all", "labeled", "unlabeled")))
    if not isinstance(value, list) or not all(isinstance(image, str) for image in value):
        raise ConfigError(f"The setting {name} is all, labeled, unlabeled, or a list of images, got {value!r}.")
    return value


_CHECKS: dict[str, Check] = {
    "device": device_name,
    "registration_model": _model,
    **dict.fromkeys(("registration_refine", "keep_fused", "save_label", "pretrained"), _truth),
    **dict.fromkeys(("multi_gpu", "force_multi_gpu", "result_compress", "result_write_to_file"), _truth),
    "max_epochs": _whole(1),
    **dict.fromkeys(("max_workers", "max_batch_size", "local_rank"), _whole(0)),
    "val_split": _split,
    "gpus": _matching(_GPUS, "all, or numbers with commas between them"),
    **dict.fromkeys(("tracking_experiment_name", "tracking_run_name"), _matching(_TITLE, "a short plain name")),
    **dict.fromkeys(("model_filename", "label_tag", "model", "strategy", "method"), _plain),
    "result_extension": _one_of(RESULT_SUFFIXES),
    "result_dtype": _dtype,
    "tracking": _one_of(TRACKING),
    "logging": _one_of(LEVELS),
    "images": _images,
}
