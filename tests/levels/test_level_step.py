from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from spinefuse_ext.verbs.level_step import name_levels

LABELS = ["background", "vertebra", "disc", "canal", "sacrum"]


def predicted(classes: NDArray[np.uint8], affine: NDArray[np.float64], folder: Path) -> None:
    nib.save(nib.Nifti1Image(classes, affine), folder / "prediction.nii.gz")


def test_levels_lie_beside_the_prediction(
    boxes: Callable[..., NDArray[np.uint8]],
    affine: NDArray[np.float64],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    predicted(boxes(3), affine, tmp_path)
    name_levels(tmp_path, LABELS)
    assert "L3, L4, L5" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("levels.*")} == {
        "levels.nii.gz",
        "levels.json",
        "levels.ctbl",
        "levels.png",
    }


def test_a_prediction_without_vertebrae_is_a_warning(
    affine: NDArray[np.float64], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predicted(np.zeros((8, 8, 8), np.uint8), affine, tmp_path)
    with caplog.at_level(logging.WARNING):
        name_levels(tmp_path, LABELS)
    assert "no levels were named" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["prediction.nii.gz"]


def test_classes_in_another_order_are_read_by_their_names(
    boxes: Callable[..., NDArray[np.uint8]], affine: NDArray[np.float64], tmp_path: Path
) -> None:
    predicted(np.choose(boxes(3), [0, 3, 1, 2, 4]).astype(np.uint8), affine, tmp_path)
    name_levels(tmp_path, ["background", "disc", "canal", "vertebra", "sacrum"])
    numbers = np.asarray(nib.load(tmp_path / "levels.nii.gz").dataobj)
    assert ((numbers > 0) & (numbers < 100)).sum() == np.isin(boxes(3), (1, 4)).sum()
