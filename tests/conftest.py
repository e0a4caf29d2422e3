"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real images and reference values (``data/`` and ``golden/``)."""
    folder = os.environ.get("SPINEFUSE_ASSETS")
    if not folder:
        pytest.skip("SPINEFUSE_ASSETS is not set: it names the folder with real images and reference values")
    path = Path(folder).absolute()
    if not (path / "data").is_dir():
        pytest.fail(f"SPINEFUSE_ASSETS={folder} has no folder data/")
    return path
