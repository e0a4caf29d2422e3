"""Copies of the bundles whose networks are small enough to be run at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).parents[2] / "bundles"
WIDTHS = [4, 8, 16, 32, 64]
SMALL: dict[str, dict[str, Any]] = {
    "spine_fusion": {"network_def": {"dim": 8, "num_blocks": [1, 1], "num_heads": 2}, "canvas": [64, 64]},
    "spine_semiseg": {"unet_channels": WIDTHS, "vnet_channels": WIDTHS, "canvas": [64, 64]},
}


def _reduce(config: dict[str, Any], small: dict[str, Any]) -> None:
    for key, value in small.items():
        if isinstance(value, dict):
            _reduce(config[key], value)
        else:
            config[key] = value


@pytest.fixture(scope="session")
def small_bundle() -> Callable[[str, Path], Path]:
    """Return a function that copies a bundle into a folder, with a small network and random weights of it."""

    def make(name: str, parent: Path) -> Path:
        folder = parent / name
        shutil.copytree(BUNDLES / name, folder, ignore=shutil.ignore_patterns("models", "eval"))
        for file in ("train.json", "inference.json"):
            path = folder / "configs" / file
            config = json.loads(path.read_text())
            _reduce(config, SMALL[name])
            path.write_text(json.dumps(config, indent=4))
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / "inference.json"))
        parser["bundle_root"] = str(folder)
        torch.manual_seed(0)
        network: torch.nn.Module = parser.get_parsed_content("network_def")
        for parameter in network.parameters():  # no layer that begins at zero hides what stands before it
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        (folder / "models").mkdir()
        torch.save(network.state_dict(), folder / "models" / "model.pt")
        return folder

    return make
