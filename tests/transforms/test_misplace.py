from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from spinefuse_ext.transforms import Misplaced, ReadVolumed
from spinefuse_ext.validation import ConfigError


def read(folder: Path) -> dict[Hashable, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).normal(size=(12, 13, 14)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 1.0, 1.0, 1.0])), folder / "mr.nii.gz")
    return ReadVolumed("mr")({"mr": str(folder / "mr.nii.gz")})


def test_an_image_is_moved_as_far_as_asked_and_always_alike(tmp_path: Path) -> None:
    before = read(tmp_path / "a" / "case_1")["mr"]
    moves = []
    for folder in (tmp_path / "a" / "case_1", tmp_path / "b" / "case_1", tmp_path / "a" / "case_2"):
        moved = Misplaced("mr", 2.5)(read(folder))["mr"]
        assert torch.equal(moved.as_tensor(), before.as_tensor())
        moves.append(moved.affine[:3, 3] - before.affine[:3, 3])
    assert all(float(move.norm()) == pytest.approx(2.5) for move in moves)
    torch.testing.assert_close(moves[0], moves[1])
    assert not torch.allclose(moves[0], moves[2])


def test_a_case_without_the_image_stays_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    move = Misplaced("mr", 2, allow_missing_keys=True)
    assert [move({"ct": 1}), move({"ct": 2})] == [{"ct": 1}, {"ct": 2}]
    assert caplog.text.count("No image is moved by 2 mm: a case has no mr.") == 1


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(ConfigError, match="distance_mm"):
        Misplaced("mr", -1)
