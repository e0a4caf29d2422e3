"""What is installed, what will be used, and whether a bundle folder is whole."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from spinefuse_ext import __version__
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.validation import ConfigError, check_exists

PACKAGES = (
    "torch",
    "monai",
    "pytorch-ignite",
    "numpy",
    "nibabel",
    "itk",
    "pydicom",
    "highdicom",
    "scipy",
    "scikit-image",
)
FILES = ("LICENSE", "configs/metadata.json", "configs/logging.conf", "configs/train.json", "configs/inference.json")


def doctor(bundle: str | None = None) -> None:
    """Print versions, device and precision; with ``--bundle PATH`` check that bundle too.

    Args:
        bundle: folder of a bundle to check.

    Raises:
        ConfigError: the bundle is not whole; the message lists every finding.
    """
    _say(f"spinefuse {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        _say(f"  {name:<16} {_version(name)}")
    _say(_device())
    if bundle is not None:
        findings = check_bundle(bundle)
        if findings:
            raise ConfigError(f"{bundle} is not whole: " + "; ".join(findings) + ".")
        weights = Path(bundle) / "models" / "model.pt"
        _say(f"{bundle} is whole; trained weights: {weights if weights.exists() else 'none yet, train first'}.")


def check_bundle(bundle: str | Path) -> list[str]:
    """Return what is wrong with a bundle folder, a short phrase each; an empty list when it is whole."""
    folder = check_exists(bundle, "The bundle")
    missing = [f"{name} is missing" for name in FILES if not (folder / name).is_file()]
    if missing:
        return missing
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    findings = []
    if metadata.get("version") not in metadata.get("changelog", {}):
        findings.append(f"the changelog in metadata.json does not name version {metadata.get('version')}")
    train, inference = (ConfigParser.load_config_file(folder / "configs" / f"{n}.json") for n in ("train", "inference"))
    if train.get("network_def") != inference.get("network_def"):
        findings.append("network_def differs between train.json and inference.json")
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    if "labels" in train and list(channels.values()) != train["labels"]:
        findings.append("channel_def of pred in metadata.json differs from labels in train.json")
    if "labels" in train and train["labels"] != list(STRUCTURES.values()):
        _say(f"note: {folder.name} has its own classes: {', '.join(train['labels'])}")
    return findings


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device() -> str:
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return f"Device: CUDA ({names}); float32, and {precision} with --amp True"
    return f"Device: CPU with {torch.get_num_threads()} threads; float32, in training bfloat16 with --amp True"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
